"""What the documents say is there."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/**/*.md")]
    if ".venv" not in path.parts
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def tokens(path: Path) -> Iterator[Token]:
    """All tokens of a document, those inside paragraphs included."""
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or []


def names(paths: Sequence[Path]) -> list[str]:
    """Names of the tests, by document."""
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_relative_links_resolve(path: Path) -> None:
    """Every relative link and picture of a document points at a file of the project."""
    targets = [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in tokens(path)
        if token.type in {"link_open", "image"}
    ]
    local = [t for t in targets if not re.match(r"[a-z]+:|#", t)]
    missing = [t for t in local if not (path.parent / t.split("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_make_commands_exist(path: Path) -> None:
    """Every `make TARGET` that a document tells the reader to type is in the Makefile."""
    code = [t.content for t in tokens(path) if t.type in {"fence", "code_inline", "code_block"}]
    command = re.compile(r"^\s*\$?\s*make ([a-z-]+)", re.MULTILINE)
    typed = {target for text in code for target in command.findall(text)}
    assert typed <= TARGETS


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_fences_name_their_language(path: Path) -> None:
    """Every fenced block names its language, so that it is shown as what it is."""
    fences = [token for token in tokens(path) if token.type == "fence"]
    assert [fence.map for fence in fences if not fence.info.strip()] == []


def test_rooms_are_described_in_the_readme() -> None:
    """The README's tree has one line for every room."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert [room for room in rooms if f"{room}/" not in readme] == []

"""What the documents say is there."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/**/*.md")]
    if ".venv" not in path.parts
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def tokens(path: Path):
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or []


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_relative_links_resolve(path):
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
def test_make_commands_exist(path):
    """Every `make TARGET` that a document tells the reader to type is in the Makefile."""
    code = [t.content for t in tokens(path) if t.type in {"fence", "code_inline", "code_block"}]
    typed = {m for text in code for m in re.findall(r"^\s*\$?\s*make ([a-z-]+)", text, re.MULTILINE)}
    assert typed <= TARGETS


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_fences_name_their_language(path):
    """Every fenced block names its language, so that it is shown as what it is."""
    fences = [token for token in tokens(path) if token.type == "fence"]
    assert [fence.map for fence in fences if not fence.info.strip()] == []


def test_rooms_are_described_in_the_readme():
    """The README's tree has one line for every room."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert [room for room in rooms if f"{room}/" not in readme] == []

"""Text sources: what each gives, and what each refuses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.corpus import SPLITS, SourceConfig, SourceError, _articles, read_corpus


@pytest.fixture
def web() -> Iterator[str]:
    """A web server on loopback: one text, everything else is not found."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f"line {n} of a remote text\n" for n in range(200)).encode()
            self.send_response(200 if self.path == "/text.txt" else 404)
            self.end_headers()
            self.wfile.write(body if self.path == "/text.txt" else b"")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_standard_library_topics_are_three_disjoint_splits() -> None:
    """The offline corpus has every topic once, about a tenth held out for each of two splits."""
    corpus = read_corpus(SourceConfig())
    sizes = {split: sum(map(len, corpus.documents[split])) for split in SPLITS}
    total = sum(sizes.values())
    every = [text for split in SPLITS for text in corpus.documents[split]]
    assert len(every) == len(set(every))
    assert total > 400_000
    assert all(0.05 < sizes[split] / total < 0.16 for split in ("validation", "test"))
    assert corpus.digest() == read_corpus(SourceConfig()).digest()
    assert corpus.digest() != read_corpus(SourceConfig(seed=1)).digest()


def test_folder_gives_one_document_per_file_and_per_json_line(tmp_path: Path) -> None:
    """Files are read in the order of their names; a JSONL line is a document."""
    for number in range(8):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps({"text": f"row {n}"}) for n in "ab"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    corpus = read_corpus(SourceConfig(source=str(tmp_path)))
    every = sorted(text for split in SPLITS for text in corpus.documents[split])
    assert every == ["row a", "row b", *(f"text {n}" for n in range(8))]


def test_one_long_file_is_cut_so_that_every_split_has_text(tmp_path: Path) -> None:
    """A single text is split at its lines and nothing of it is lost."""
    text = "".join(f"{n} words of a line\n" for n in range(300))
    (tmp_path / "book.txt").write_text(text)
    corpus = read_corpus(SourceConfig(source=str(tmp_path / "book.txt")))
    assert sum(len(t) for split in SPLITS for t in corpus.documents[split]) == len(text)


def test_web_address_is_fetched_and_its_absence_is_an_error(web: str) -> None:
    """A remote text is read; a missing, too large or unreachable one is refused in one line."""
    assert read_corpus(SourceConfig(source=f"{web}/text.txt")).documents["train"]
    with pytest.raises(SourceError, match=r"cannot be fetched \(HTTP Error 404"):
        read_corpus(SourceConfig(source=f"{web}/none.txt"))
    with pytest.raises(SourceError, match="max_download_bytes"):
        read_corpus(SourceConfig(source=f"{web}/text.txt", max_download_bytes=100))
    with pytest.raises(SourceError, match="give a local file"):
        read_corpus(SourceConfig(source="http://127.0.0.1:1/text.txt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b" \n ", "without text"),
        ("latin.txt", b"caf\xe9 ", "not UTF-8 text .byte 3"),
        ("bad.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2: no 'text'"),
        ("tiny.txt", b"word", "at least a few lines"),
    ],
)
def test_unusable_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """An empty, undecodable or malformed file is an error that says which and why."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_corpus(SourceConfig(source=str(tmp_path / name)))


def test_missing_path_and_empty_folder_are_refused(tmp_path: Path) -> None:
    """A path that is not there is not mistaken for a hub name."""
    with pytest.raises(SourceError, match="no such file or folder"):
        read_corpus(SourceConfig(source=str(tmp_path / "absent" / "a.txt")))
    with pytest.raises(SourceError, match="holds no text file"):
        read_corpus(SourceConfig(source=str(tmp_path)))


def test_wikitext_lines_become_articles() -> None:
    """A first-level heading starts a document, a deeper one does not."""
    lines = ["", " = One = \n", " text \n", " = = Part = = \n", " = Two = \n", " more \n"]
    assert _articles(lines) == [" = One = \n text \n = = Part = = \n", " = Two = \n more \n"]


def test_config_refuses_impossible_shares() -> None:
    """Half of the text cannot be held out twice."""
    with pytest.raises(ValueError, match=r"held_out_fraction is 0\.5"):
        SourceConfig(held_out_fraction=0.5)

"""Where text comes from: the standard library, files, folders, web addresses, the Hugging Face hub.

Whatever the source, a corpus is documents in three splits. A document is what attention never
crosses: a file, a row of a data set, an article.
"""

import hashlib
import json
import random
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

HUB_SHORT_NAMES: Mapping[str, str] = {
    "wikitext-2": "Salesforce/wikitext:wikitext-2-raw-v1",
    "wikitext-103": "Salesforce/wikitext:wikitext-103-raw-v1",
}
TEXT_SUFFIXES = (".txt", ".md", ".text", ".jsonl")
_ARTICLE_HEADING = re.compile(r"^ = [^=].* = \n?$")


class SourceError(ValueError):
    """A text source that cannot be read: missing, unreachable, gated or without text."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which text to read and how to split it where the source has no splits of its own."""

    source: str = "stdlib-topics"
    """`stdlib-topics`, `wikitext-2`, a hub data set (`owner/name` or `owner/name:configuration`),
    a file or folder of text, or an `https://` address of one text file."""

    text_column: str = "text"
    """The column of a hub data set, and the key of a JSONL line, that holds the text."""

    held_out_fraction: float = 0.1
    """Share of the characters for validation, and the same again for test."""

    seed: int = 0
    """Decides which documents are held out."""

    max_download_bytes: int = 2 * 1024**3
    """A web address with more than this is refused."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source is empty; name a data set, a file, a folder or an address")
        if not 0 < self.held_out_fraction < 0.5:
            raise ValueError(
                f"held_out_fraction is {self.held_out_fraction}; give a number between 0 and 0.5"
            )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents by split."""

    source: str
    """Where they came from."""

    documents: Mapping[Split, Sequence[str]]
    """The texts; no split is empty."""

    def digest(self) -> str:
        """Returns the SHA-256 over every document of every split, in order."""
        sha256 = hashlib.sha256()
        for split in SPLITS:
            for document in self.documents[split]:
                sha256.update(f"\n{split} {len(document)}\n".encode())
                sha256.update(document.encode(errors="surrogatepass"))
        return sha256.hexdigest()


def read_corpus(config: SourceConfig) -> Corpus:
    """Reads the source and returns its documents in three splits.

    Raises:
        SourceError: The source is missing, unreachable, or has no text.
        HubError: The hub does not give it: out of reach, gated, or unknown there.
    """
    source = config.source
    if source == "stdlib-topics":
        return _split(config, _stdlib_topics())
    if source.startswith(("https://", "http://")):
        return _split(config, _documents_of(_download(config), source, config))
    if Path(source).exists():
        return _split(config, _read_files(config))
    name = HUB_SHORT_NAMES.get(source, source)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", name) or name.endswith(TEXT_SUFFIXES):
        raise SourceError(f"source is {source!r}: no such file or folder; correct the path")
    return _read_hub(config, name)


def _stdlib_topics() -> list[str]:
    """Returns Python's own reference topics: 79 English texts, 465,000 characters."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def _read_files(config: SourceConfig) -> list[str]:
    """Reads one file, or every text file of a folder in the order of their names."""
    place = Path(config.source)
    if place.is_file():
        files = [place]
    else:
        files = sorted(p for p in place.rglob("*") if p.suffix.lower() in TEXT_SUFFIXES)
        if not files:
            raise SourceError(
                f"source {place} holds no text file; put {', '.join(TEXT_SUFFIXES)} files there"
            )
    return [text for file in files for text in _documents_of(file.read_bytes(), str(file), config)]


def _documents_of(data: bytes, name: str, config: SourceConfig) -> list[str]:
    """Decodes one file: a document, or one per line of JSONL."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"source {name} is not UTF-8 text (byte {error.start}); convert it, or leave it out"
        ) from error
    if not name.endswith(".jsonl"):
        return [text]
    documents = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            documents.append(str(json.loads(line)[config.text_column]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise SourceError(
                f"source {name}, line {number}: no {config.text_column!r} in it ({error!r}); "
                "set text_column or correct the line"
            ) from error
    return documents


def _download(config: SourceConfig) -> bytes:
    """Fetches a web address into memory, refusing what is too large."""
    limit = config.max_download_bytes
    try:
        with urllib.request.urlopen(config.source, timeout=30) as response:  # noqa: S310 - the caller let only http(s) in
            data: bytes = response.read(limit + 1)
    except OSError as error:
        raise SourceError(
            f"source {config.source} cannot be fetched ({error}); check the address and the "
            "network, or give a local file"
        ) from error
    if len(data) > limit:
        raise SourceError(
            f"source {config.source} has more than {limit} bytes; raise max_download_bytes"
        )
    return data


def _read_hub(config: SourceConfig, name: str) -> Corpus:
    """Loads a text data set of the Hugging Face hub, with the splits it has."""
    from training.hub import hub_errors, load_data_set

    path, _, configuration = name.partition(":")
    with hub_errors(name, "data set"):
        loaded = load_data_set(path, configuration or None)
    columns = {column for split in loaded.values() for column in split.column_names}
    if config.text_column not in columns:
        raise SourceError(
            f"text_column is {config.text_column!r}, and {config.source} has {sorted(columns)}; "
            "name one of them"
        )
    rows = {split: [str(text) for text in loaded[split][config.text_column]] for split in loaded}
    if "wikitext" in path.lower():
        rows = {split: _articles(lines) for split, lines in rows.items()}
    if all(rows.get(split) for split in SPLITS):
        return _checked(config, {split: rows[split] for split in SPLITS})
    return _split(config, [text for split in rows for text in rows[split]])


def _articles(lines: Iterable[str]) -> list[str]:
    """Joins WikiText's lines into its articles, which start at headings of the first level."""
    articles: list[list[str]] = []
    for line in lines:
        if not articles or _ARTICLE_HEADING.match(line):
            articles.append([])
        articles[-1].append(line)
    return [text for text in map("".join, articles) if text.strip()]


def _split(config: SourceConfig, documents: Sequence[str]) -> Corpus:
    """Holds out whole documents; one that is nearly all of the text is cut at its lines first."""
    # Each text once: a copy in another split would be measured after being trained on.
    texts = list(dict.fromkeys(document for document in documents if document.strip()))
    total = sum(map(len, texts))
    if texts and max(map(len, texts)) > (1 - 3 * config.held_out_fraction) * total:
        texts = _cut("".join(texts), pieces=3 * int(1 / config.held_out_fraction))
    order = list(range(len(texts)))
    random.Random(config.seed).shuffle(order)
    wanted = config.held_out_fraction * total
    chosen: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    for split in ("validation", "test"):
        size = 0
        for index in tuple(order):
            # A text that would overshoot by far stays in train.
            if size < wanted and size + len(texts[index]) <= 1.5 * wanted:
                chosen[split].append(index)
                order.remove(index)
                size += len(texts[index])
    chosen["train"] = order
    return _checked(config, {split: [texts[i] for i in sorted(chosen[split])] for split in SPLITS})


def _cut(text: str, *, pieces: int) -> list[str]:
    """Cuts one text into about `pieces` parts of whole lines."""
    size, parts, part = max(1, len(text) // pieces), list[str](), ""
    for line in text.splitlines(keepends=True):
        part += line
        if len(part) >= size:
            parts.append(part)
            part = ""
    return [*parts, part] if part.strip() else parts


def _checked(config: SourceConfig, documents: Mapping[Split, Sequence[str]]) -> Corpus:
    for split in SPLITS:
        if not any(text.strip() for text in documents[split]):
            raise SourceError(
                f"source {config.source!r} leaves the {split} split without text; "
                "give a corpus of at least a few lines"
            )
    return Corpus(source=config.source, documents=documents)

"""Packed text: tokenised once, cut into blocks, mapped into memory.

A prepared folder holds, per split, `<split>.tokens.npy` of shape (blocks, block_size) and
`<split>.starts.npy`, the offsets in the token stream where documents start; the tokenizer; and
`manifest.json`, written last, with the SHA-256 of every file.

Letters: N blocks of a split, B blocks of a batch, T tokens of a block.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches import IGNORED, TokenBatch, shuffled
from training.corpus import SPLITS, Corpus, SourceConfig, Split, read_corpus
from training.tokenizer import load_tokenizer, tokenizer_digest, train_tokenizer

FORMAT = "oppen-text-1"
MANIFEST = "manifest.json"
DOCUMENTS_PER_CALL = 1024


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How a corpus becomes blocks of tokens."""

    source: SourceConfig = field(default_factory=SourceConfig)
    """Where the text comes from."""

    tokenizer: str = ""
    """Hub name or folder of the tokenizer; empty trains one on the corpus."""

    vocab_size: int = 4096
    """Entries of a tokenizer trained here."""

    block_size: int = 256
    """Tokens of a block: the longest context the model sees while training."""

    def __post_init__(self) -> None:
        if self.block_size < 2:
            raise ValueError(f"block_size is {self.block_size}; give at least 2 tokens")


@dataclass(frozen=True, kw_only=True)
class TextManifest:
    """What a prepared folder holds."""

    format: str
    """Version of the layout."""

    digest: str
    """SHA-256 over the corpus, the tokenizer and the block size: equal digests, equal folders."""

    source: str
    """Where the text came from."""

    tokenizer_sha256: str
    """The tokenizer, see `tokenizer_digest`."""

    vocab_size: int
    """Entries of the tokenizer, specials included."""

    block_size: int
    """T."""

    num_documents: Mapping[str, int]
    """Documents by split."""

    num_tokens: Mapping[str, int]
    """Tokens by split, without the filling of the last block."""

    files: Mapping[str, str]
    """SHA-256 of each file by its name."""


def prepare_text(config: TextConfig, folder: Path, *, token: str | None = None) -> TextManifest:
    """Reads, tokenises and packs a corpus into `folder`, which appears only when complete.

    A folder that already holds the same content is left as it is.

    Args:
        config: What to prepare.
        folder: Where to; its parent is created.
        token: Hub token for a gated tokenizer.

    Raises:
        ValueError: The source or the tokenizer cannot be had, or `folder` holds something else.
    """
    # The tokenizer first: it is what a wrong name or a missing token breaks, at once.
    tokenizer = load_tokenizer(config.tokenizer, token=token) if config.tokenizer else None
    if tokenizer is not None and tokenizer.eos_token_id is None:
        raise ValueError(
            f"tokenizer {config.tokenizer!r} has no end-of-text token, which separates documents; "
            "set eos_token and save it"
        )
    corpus = read_corpus(config.source)
    if tokenizer is None:
        tokenizer = train_tokenizer(corpus.documents["train"], vocab_size=config.vocab_size)
    digest = _content_digest(corpus, tokenizer, config.block_size)
    if folder.exists():
        manifest = read_manifest(folder)
        if manifest.digest != digest:
            raise ValueError(f"{folder} holds other data ({manifest.source}); name another folder")
        return manifest
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        manifest = _write(partial, corpus, tokenizer, config.block_size, digest)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def read_manifest(folder: Path, *, verify: bool = False) -> TextManifest:
    """Reads what a prepared folder holds.

    Args:
        folder: The prepared folder.
        verify: Also compares the SHA-256 of every file.

    Raises:
        ValueError: It is no prepared folder, or a file differs from the manifest.
    """
    try:
        manifest = TextManifest(**json.loads((folder / MANIFEST).read_text()))
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{folder} is no prepared text ({error}); prepare it again") from error
    if manifest.format != FORMAT:
        raise ValueError(f"{folder} has format {manifest.format!r}, not {FORMAT}; prepare it again")
    if verify:
        for name, expected in manifest.files.items():
            if _sha256(folder / name) != expected:
                raise ValueError(f"{folder / name} differs from its manifest; prepare it again")
    return manifest


class PackedText:
    """One split of a prepared folder, read through the page cache: nothing is loaded at once."""

    def __init__(self, folder: Path, split: Split) -> None:
        self.manifest = read_manifest(folder)
        self.tokens: NDArray[Any] = np.load(folder / f"{split}.tokens.npy", mmap_mode="r")
        self.starts: NDArray[np.int64] = np.load(folder / f"{split}.starts.npy")
        self.num_tokens = self.manifest.num_tokens[split]

    def __len__(self) -> int:
        """Returns N, the number of blocks."""
        return len(self.tokens)

    def batch(self, indices: Sequence[int]) -> TokenBatch:
        """Returns the blocks of `indices` as one batch of shape (B, T).

        Positions restart with each document, from which the model's mask keeps attention inside
        documents. A label is the next token of the same document.
        """
        block_size = self.tokens.shape[1]
        rows = np.asarray(indices, dtype=np.int64)
        ids = torch.from_numpy(self.tokens[rows].astype(np.int64))  # (B, T)
        offsets = rows[:, None] * block_size + np.arange(block_size)  # (B, T), in the stream
        document = np.searchsorted(self.starts, offsets, side="right") - 1
        begin = np.maximum(self.starts[document], rows[:, None] * block_size)
        labels = torch.full_like(ids, IGNORED)
        same = (document[:, 1:] == document[:, :-1]) & (offsets[:, 1:] < self.num_tokens)
        labels[:, :-1] = torch.where(torch.from_numpy(same), ids[:, 1:], IGNORED)
        num_tokens = int((offsets < self.num_tokens).sum())
        positions = torch.from_numpy(offsets - begin)
        return TokenBatch(ids=ids, labels=labels, positions=positions, num_tokens=num_tokens)


class TextBatches:
    """The batches of one split, epoch by epoch, for the fine-tune loop."""

    def __init__(
        self, text: PackedText, *, batch_size: int, seed: int = 0, shuffle: bool = True
    ) -> None:
        self._text = text
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle

    def __len__(self) -> int:
        """Returns the batches of an epoch; the last may be smaller."""
        return math.ceil(len(self._text) / self._batch_size)

    def batch(self, epoch: int, index: int) -> TokenBatch:
        """Returns one batch; the same arguments give the same batch in every process."""
        order = shuffled(len(self._text), seed=self._seed, epoch=epoch if self._shuffle else None)
        start = index * self._batch_size
        return self._text.batch(order[start : start + self._batch_size])


def _write(
    folder: Path, corpus: Corpus, tokenizer: Any, block_size: int, digest: str
) -> TextManifest:
    num_tokens: dict[str, int] = {}
    for split in SPLITS:
        stream, starts = _tokenise(corpus.documents[split], tokenizer)
        num_tokens[split] = len(stream)
        filling = -len(stream) % block_size
        stream = np.concatenate([stream, np.full(filling, tokenizer.eos_token_id, stream.dtype)])
        np.save(folder / f"{split}.tokens.npy", stream.reshape(-1, block_size))
        np.save(folder / f"{split}.starts.npy", starts)
    tokenizer.save_pretrained(folder / "tokenizer")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = TextManifest(
        format=FORMAT,
        digest=digest,
        source=corpus.source,
        tokenizer_sha256=tokenizer_digest(tokenizer),
        vocab_size=len(tokenizer),
        block_size=block_size,
        num_documents={split: len(corpus.documents[split]) for split in SPLITS},
        num_tokens=num_tokens,
        files={path.relative_to(folder).as_posix(): _sha256(path) for path in files},
    )
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2))
    return manifest


def _tokenise(
    documents: Sequence[str], tokenizer: Any
) -> tuple[NDArray[np.uint16 | np.uint32], NDArray[np.int64]]:
    """Returns the token stream of `documents` and the offsets where each starts.

    A fast tokenizer splits a call's documents over all cores. Each document ends with the
    end-of-text token and starts with the beginning token where there is one.
    """
    small = len(tokenizer) <= 1 << 16
    end = [tokenizer.eos_token_id]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    parts: list[NDArray[Any]] = []
    for at in range(0, len(documents), DOCUMENTS_PER_CALL):
        texts = list(documents[at : at + DOCUMENTS_PER_CALL])
        # Text is data: a literal "<|endoftext|>" in it is split like any other characters.
        encoded = tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        parts += [
            np.array(begin + ids + end, dtype=np.uint16 if small else np.uint32)
            for ids in encoded["input_ids"]
        ]
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])], dtype=np.int64)
    return np.concatenate(parts), starts


def _content_digest(corpus: Corpus, tokenizer: Any, block_size: int) -> str:
    parts = [FORMAT, corpus.digest(), tokenizer_digest(tokenizer), str(block_size)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Packed text: complete, cached by content, and with attention inside documents."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.batches import IGNORED, TokenBatch
from training.corpus import SourceConfig
from training.finetune import LossFunction
from training.language_model import fused_packed_loss, packed_loss
from training.text_data import PackedText, TextBatches, TextConfig, prepare_text, read_manifest
from training.tiny_models import small_gemma, small_gpt2
from training.tokenizer import train_tokenizer


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    """A folder of twelve short texts of different lengths."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(f"document {number} " + "words " * (3 * number))
    return SourceConfig(source=str(folder), held_out_fraction=0.15)


def _config(source: SourceConfig, **changes: int) -> TextConfig:
    return TextConfig(source=source, **({"vocab_size": 300, "block_size": 16} | changes))


def test_prepared_folder_is_complete_verified_and_reused(
    source: SourceConfig, tmp_path: Path
) -> None:
    """A second run finds the same content; other settings are another digest."""
    folder = tmp_path / "prepared"
    manifest = prepare_text(_config(source), folder)
    assert read_manifest(folder, verify=True) == manifest
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert prepare_text(_config(source), folder) == manifest
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    other = prepare_text(_config(source, block_size=8), tmp_path / "other")
    assert other.digest != manifest.digest
    with pytest.raises(ValueError, match="holds other data"):
        prepare_text(_config(source, block_size=8), folder)


def test_changed_file_is_found(source: SourceConfig, tmp_path: Path) -> None:
    """One flipped byte differs from the manifest; a foreign folder is no prepared text."""
    folder = tmp_path / "prepared"
    prepare_text(_config(source), folder)
    path = folder / "train.tokens.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train.tokens.npy differs from its manifest"):
        read_manifest(folder, verify=True)
    (tmp_path / "foreign").mkdir()
    with pytest.raises(ValueError, match="is no prepared text"):
        read_manifest(tmp_path / "foreign")


def test_failed_preparation_leaves_nothing_behind(tmp_path: Path) -> None:
    """An empty corpus is refused before any folder appears."""
    (tmp_path / "empty.txt").write_text("\n")
    config = TextConfig(source=SourceConfig(source=str(tmp_path / "empty.txt")))
    with pytest.raises(ValueError, match="without text"):
        prepare_text(config, tmp_path / "prepared")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_tokenizer_without_end_of_text_is_refused(source: SourceConfig, tmp_path: Path) -> None:
    """Documents need a separator."""
    tokenizer = train_tokenizer(["some text"], vocab_size=300)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="has no end-of-text token"):
        prepare_text(
            TextConfig(source=source, tokenizer=str(tmp_path / "tokenizer")), tmp_path / "out"
        )


def test_every_token_is_stored_once_and_labels_stay_inside_documents(
    source: SourceConfig, tmp_path: Path
) -> None:
    """Blocks in order are the stream; no label is another document's token or filling."""
    folder = tmp_path / "prepared"
    manifest = prepare_text(_config(source), folder)
    text = PackedText(folder, "train")
    assert isinstance(text.tokens, np.memmap)
    assert text.tokens.dtype == np.uint16
    batch = text.batch(range(len(text)))
    assert batch.num_tokens == manifest.num_tokens["train"]
    stream = batch.ids.flatten()[: batch.num_tokens].tolist()
    starts = text.starts.tolist()
    for start, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        assert stream[start] == stream[end - 1] == 0
        assert 0 not in stream[start + 1 : end - 1]
    labels = batch.labels.flatten().tolist()
    for at, label in enumerate(labels):
        crosses = at + 1 in starts or (at + 1) % 16 == 0 or at + 1 >= len(stream)
        assert label == (IGNORED if crosses else stream[at + 1])


@pytest.mark.parametrize("loss", [packed_loss, fused_packed_loss])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["gpt2", "gemma"])
def test_packed_loss_equals_the_documents_one_by_one(
    source: SourceConfig,
    tmp_path: Path,
    kind: str,
    attention: str,
    loss: LossFunction[TokenBatch],
) -> None:
    """No attention crosses documents: packing changes neither loss nor gradient."""
    folder = tmp_path / "prepared"
    prepare_text(_config(source, block_size=128), folder)
    text = PackedText(folder, "train")
    tokenizer = train_tokenizer(["a"], vocab_size=300)
    model = (
        small_gpt2(vocab_size=300, context=128, width=32, layers=2, heads=2)
        if kind == "gpt2"
        else small_gemma(
            tokenizer=tokenizer, width=32, layers=2, heads=2, sliding_window=8, vocab_size=300
        )
    )
    batch = text.batch(range(len(text)))
    assert (batch.positions[:, 1:] == 0).any(), "a block holds more than one document"
    model.set_attn_implementation(attention)
    packed = loss(model, batch).total
    packed.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    total = torch.zeros(())
    for row in range(len(batch.ids)):
        bounds = [*torch.nonzero(batch.positions[row] == 0).flatten().tolist(), 128]
        for start, end in itertools.pairwise(bounds):
            ids = batch.ids[row, start:end][None]
            labels = batch.labels[row, start:end]
            logits = model(input_ids=ids, use_cache=False).logits[0]
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    total.backward()
    torch.testing.assert_close(packed, total, rtol=1e-5, atol=1e-4)
    for one, other in zip(gradients, (p.grad for p in model.parameters()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_batches_cover_an_epoch_once_in_an_order_of_its_own(
    source: SourceConfig, tmp_path: Path
) -> None:
    """Each epoch has every block once; the order depends on seed and epoch alone."""
    folder = tmp_path / "prepared"
    prepare_text(_config(source), folder)
    text = PackedText(folder, "train")
    batches = TextBatches(text, batch_size=4, seed=3)

    def epoch(number: int) -> torch.Tensor:
        return torch.cat([batches.batch(number, index).ids for index in range(len(batches))])

    assert len(epoch(0)) == len(text)
    assert sorted(epoch(0).tolist()) == sorted(epoch(1).tolist())
    assert epoch(0).tolist() != epoch(1).tolist()
    assert epoch(1).tolist() == epoch(1).tolist()


def test_manifest_is_plain_json(source: SourceConfig, tmp_path: Path) -> None:
    """Another program can read what a folder holds."""
    prepare_text(_config(source), tmp_path / "prepared")
    manifest = json.loads((tmp_path / "prepared" / "manifest.json").read_text())
    assert set(manifest["files"]) >= {"train.tokens.npy", "train.starts.npy"}
    assert manifest["block_size"] == 16

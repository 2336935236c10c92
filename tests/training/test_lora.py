"""Adapters: neutral when new, saved alone, merged exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.dropout import ByteDropout
from training.lora import (
    LINEAR_LAYERS,
    LoraConfig,
    add_adapter,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from training.tiny_models import function_tokenizer, small_gemma, small_gpt2

IDS = torch.arange(12)[None]


def _gemma() -> Any:
    tokenizer = function_tokenizer(["words"] * 3, vocab_size=300)
    return small_gemma(tokenizer=tokenizer, width=32, layers=2, heads=2).eval()


def _trained() -> Any:
    model = add_adapter(_gemma(), LoraConfig(rank=4, alpha=8))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def test_new_adapter_changes_nothing_and_alone_requires_gradients() -> None:
    """Outputs are those of the base model; the same seed gives the same adapter."""
    base, adapted, again = _gemma(), add_adapter(_gemma(), LoraConfig()), None
    torch.testing.assert_close(adapted(IDS).logits, base(IDS).logits)
    trainable = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    again = add_adapter(_gemma(), LoraConfig())
    one, other = (dict(m.named_parameters()) for m in (adapted, again))
    assert all(torch.equal(one[name], other[name]) for name in trainable)


def test_saved_adapter_is_small_safe_and_loads(tmp_path: Path) -> None:
    """The folder has safetensors only; loaded onto the base it gives the same outputs."""
    model = _trained()
    save_adapter(model, tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".bin", ".pt", ".pkl")]
    loaded = load_adapter(_gemma(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)


def test_merged_model_is_plain_and_equal(tmp_path: Path) -> None:
    """Merging folds the adapter in; nothing of it is left."""
    model = _trained()
    expected = model(IDS).logits.detach()
    merged = merge_adapter(model)
    torch.testing.assert_close(merged(IDS).logits, expected, rtol=1e-4, atol=1e-5)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    merged.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


def test_target_that_the_model_lacks_is_refused() -> None:
    """GPT-2 has other names; they are listed."""
    model = small_gpt2(vocab_size=300, width=32, layers=1, heads=2)
    with pytest.raises(ValueError, match=r"target_modules has \['q_proj'\].*c_attn"):
        add_adapter(model, LoraConfig(target_modules=("q_proj", "c_attn")))
    assert add_adapter(model, LoraConfig(target_modules=("c_attn",)))


def test_folder_without_or_with_a_foreign_adapter_is_refused(tmp_path: Path) -> None:
    """What is missing is named, and so is an adapter of another size."""
    with pytest.raises(ValueError, match=r"has no adapter_config\.json"):
        load_adapter(_gemma(), tmp_path)
    save_adapter(_trained(), tmp_path)
    tokenizer = function_tokenizer(["words"] * 3, vocab_size=300)
    other = small_gemma(tokenizer=tokenizer, width=64, layers=2, heads=2)
    with pytest.raises(ValueError, match="does not fit this model"):
        load_adapter(other, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("rank", 0), ("alpha", 0.0), ("dropout", 1.0), ("target_modules", ())]
)
def test_config_refuses_values_that_make_no_sense(field: str, value: Any) -> None:
    """Each bad field is named."""
    with pytest.raises(ValueError, match=field):
        LoraConfig(**{field: value})


def test_dropout_is_ours_and_acts_in_training_alone() -> None:
    """Each adapted layer drops the share asked for, to a 256th."""
    model = add_adapter(_gemma(), LoraConfig(rank=4, alpha=8, dropout=0.1))
    shares = [module.p for module in model.modules() if isinstance(module, ByteDropout)]
    assert len(shares) == 2 * len(LINEAR_LAYERS)
    assert set(shares) == {26 / 256}
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)
    model.eval()
    torch.testing.assert_close(model(IDS).logits, model(IDS).logits, rtol=0, atol=0)

"""Language models: what loading changes, and what is checked before a run."""

from pathlib import Path

import pytest
import torch
from torch import nn

from training.language_model import check_length, load_language_model
from training.tiny_models import small_gpt2


def test_loaded_model_computes_what_was_saved(tmp_path: Path) -> None:
    """The fused activation is the same function, and nothing of it is saved."""
    model = small_gpt2(vocab_size=64, context=16, width=16, layers=2, heads=2)
    stock = type(model)(model.config)
    stock.load_state_dict(model.state_dict())
    assert sum(isinstance(module, nn.GELU) for module in model.modules()) == 2
    ids = torch.arange(16)[None]
    torch.testing.assert_close(model(ids).logits, stock(ids).logits, rtol=1e-5, atol=1e-6)
    stock.save_pretrained(tmp_path)
    loaded = load_language_model(tmp_path)
    torch.testing.assert_close(loaded(ids).logits, stock.eval()(ids).logits, rtol=1e-5, atol=1e-6)
    assert loaded.config.activation_function == "gelu_new"


def test_equal_arguments_build_equal_models() -> None:
    """The weights depend on the seed alone, not on what was drawn before."""
    one = small_gpt2(vocab_size=64, width=16, layers=1, heads=2).state_dict()
    torch.rand(7)
    two = small_gpt2(vocab_size=64, width=16, layers=1, heads=2).state_dict()
    other = small_gpt2(vocab_size=64, width=16, layers=1, heads=2, seed=1).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["transformer.wte.weight"], other["transformer.wte.weight"])


def test_sequences_longer_than_the_context_are_refused() -> None:
    """The setting to lower is named."""
    config = small_gpt2(vocab_size=64, context=16, width=16, layers=1, heads=2).config
    check_length(16, config, name="block_size")
    with pytest.raises(ValueError, match=r"block_size is 17 tokens, and .* ends at 16; lower it"):
        check_length(17, config, name="block_size")

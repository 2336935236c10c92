"""The fused output layer gives the loss and the gradients of the one written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import linear_cross_entropy as fused
from training.batches import IGNORED, TokenBatch
from training.device import Placement
from training.finetune import TokenLoss
from training.language_model import (
    WRITTEN_OUT_TOKENS,
    choose_attention,
    choose_loss,
    fused_packed_loss,
    packed_loss,
)
from training.linear_cross_entropy import linear_cross_entropy
from training.lora import LoraConfig, add_adapter
from training.tiny_models import small_gemma, small_gpt2
from training.tokenizer import train_tokenizer


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of eleven tokens to a piece: every test has a last one that is shorter."""
    monkeypatch.setattr(fused, "CACHED_BYTES", 3 * 11 * 4)


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (2, 5, 4), weights (11, 4), and labels of which three are ignored."""
    torch.manual_seed(0)
    hidden = torch.randn(2, 5, 4, dtype=dtype, requires_grad=True)
    weight = torch.randn(11, 4, dtype=dtype, requires_grad=True)
    labels = torch.tensor([[0, 10, IGNORED, 3, 3], [IGNORED, IGNORED, 7, 1, 2]])
    return hidden, weight, labels


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    """Gradients of a loss times three, so that the incoming gradient is not one."""
    return list(torch.autograd.grad(3 * loss, of))


def test_loss_and_gradients_are_those_of_logits_and_cross_entropy() -> None:
    """Also over ignored labels and the end of the last piece."""
    hidden, weight, labels = problem()
    total, _ = linear_cross_entropy(hidden, weight, labels)
    plain = F.cross_entropy((hidden @ weight.t()).flatten(0, 1), labels.flatten(), reduction="sum")

    torch.testing.assert_close(total, plain)
    for ours, theirs in zip(
        gradients(total, hidden, weight), gradients(plain, hidden, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_that_of_finite_differences() -> None:
    """In fp64, where nothing is rounded to fp32 on the way."""
    hidden, weight, labels = problem(torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, labels)[0], (hidden, weight)
    )


def test_frozen_weights_get_no_gradient() -> None:
    """As under LoRA, where the output layer is not trained."""
    hidden, weight, labels = problem()
    wanted = gradients(linear_cross_entropy(hidden, weight, labels)[0], hidden)
    total, _ = linear_cross_entropy(hidden, weight.detach(), labels)
    total.mul(3).backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, wanted[0])
    assert weight.grad is None


def test_correct_targets_are_counted_where_nothing_is_differentiated() -> None:
    """An ignored label is never correct, also where the most likely token is number 0."""
    hidden, weight, labels = problem()
    likeliest = (hidden @ weight.t()).argmax(-1)
    with torch.no_grad():
        _, all_correct = linear_cross_entropy(hidden, weight, likeliest)
        _, some = linear_cross_entropy(hidden, weight, torch.where(labels < 0, labels, likeliest))
        _, none = linear_cross_entropy(hidden, weight, torch.full_like(labels, IGNORED))
    assert (int(all_correct), int(some), int(none)) == (10, 7, 0)


def test_without_a_label_the_loss_is_zero() -> None:
    """And so are its gradients."""
    hidden, weight, labels = problem()
    total, _ = linear_cross_entropy(hidden, weight, torch.full_like(labels, IGNORED))
    assert total == 0
    assert not any(gradient.any() for gradient in gradients(total, hidden, weight))


def test_autocast_rounds_the_logits_and_not_the_softmax() -> None:
    """What plain layers under autocast give, to the last bit of the loss."""
    hidden, weight, labels = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = linear_cross_entropy(hidden, weight, labels)
        logits = F.linear(hidden, weight)
    plain = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum")
    assert logits.dtype is torch.bfloat16
    assert total.dtype is torch.float32
    torch.testing.assert_close(total, plain, rtol=1e-6, atol=0)
    for ours, theirs in zip(
        gradients(total, hidden, weight), gradients(plain, hidden, weight), strict=True
    ):
        assert ours.dtype is torch.float32
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


def test_autocast_does_not_round_what_the_loss_is_divided_by() -> None:
    """1.3 is 1.2969 in bf16: rounded, all gradients would be 0.24% off."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(500, 32).requires_grad_(), torch.randn(50, 32).requires_grad_()
    labels = torch.randint(0, 50, (500,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = linear_cross_entropy(hidden, weight, labels)
    whole = torch.autograd.grad(total, (hidden, weight), retain_graph=True)
    scaled = torch.autograd.grad(total * 1.3, (hidden, weight))
    for one, other in zip(whole, scaled, strict=True):
        ratio = (one * other).sum() / (one * one).sum()
        assert ratio == pytest.approx(1.3, abs=0.001)


def batch() -> TokenBatch:
    """Two rows, of which the first holds two documents."""
    ids = torch.randint(0, 300, (2, 24), generator=torch.Generator().manual_seed(1))
    positions = torch.stack([torch.cat([torch.arange(10), torch.arange(14)]), torch.arange(24)])
    labels = ids.roll(-1, dims=1)
    labels[:, -1] = IGNORED
    return TokenBatch(ids=ids, labels=labels, positions=positions, num_tokens=48)


def gpt2() -> Any:
    """A model whose output layer is its embedding."""
    return small_gpt2(vocab_size=300, context=32, width=32, layers=2, heads=2)


def gemma(**options: Any) -> Any:
    """A model with windows, and a cap on its logits if asked for."""
    model: Any = small_gemma(
        tokenizer=train_tokenizer(["a"], vocab_size=300),
        width=32,
        layers=2,
        heads=2,
        sliding_window=8,
        vocab_size=300,
    )
    for name, value in options.items():
        setattr(model.config, name, value)
    return model


def adapted() -> Any:
    """A model of which only an adapter is trained."""
    return add_adapter(gpt2(), LoraConfig(rank=2, target_modules=("c_attn",)))


@pytest.mark.parametrize("build", [gpt2, gemma, adapted])
def test_a_model_is_trained_by_the_same_gradients(build: Callable[[], nn.Module]) -> None:
    """Every parameter gets what `packed_loss` gives it, and the other mode is kept."""
    model = build()
    found: dict[str, tuple[Tensor, dict[str, Tensor]]] = {}
    for loss in (packed_loss, fused_packed_loss):
        model.train()
        assert choose_loss(model) is fused_packed_loss
        assert model.training
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.zero_grad()
        total = loss(model, batch()).total
        total.backward()
        named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found[loss.__name__] = (total, {name: grad.clone() for name, grad in named.items()})

    (plain, by_plain), (ours, by_ours) = found.values()
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=0)
    assert by_ours.keys() == by_plain.keys()
    for name, gradient in by_plain.items():
        torch.testing.assert_close(by_ours[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("build", [gpt2, gemma])
def test_an_evaluation_counts_the_same(build: Callable[[], nn.Module]) -> None:
    """Loss and correct targets without gradients, of which every second one is right."""
    model, given = build().eval(), batch()
    with torch.no_grad():
        logits = model(input_ids=given.ids, position_ids=given.positions, use_cache=False).logits
        right = torch.arange(24) % 2 == 0
        given = replace(given, labels=torch.where(right, logits.argmax(-1), logits.argmin(-1)))
        plain, ours = packed_loss(model, given), fused_packed_loss(model, given)
    torch.testing.assert_close(ours.total, plain.total, rtol=1e-6, atol=0)
    assert ours.correct is not None
    assert ours.correct == plain.correct == 24


def test_logits_that_are_more_than_a_linear_layer_are_written_out() -> None:
    """A cap on the logits, an adapter in the output layer, a bias, and a model in one piece."""
    assert choose_loss(gemma()) is fused_packed_loss
    assert choose_loss(gemma(final_logit_softcapping=5.0)) is packed_loss
    in_head = add_adapter(gemma(), LoraConfig(rank=2, target_modules=("lm_head",)))
    assert choose_loss(in_head) is packed_loss
    biased = gpt2()
    biased.lm_head = nn.Linear(32, 300)
    assert choose_loss(biased) is packed_loss
    undivided = gpt2()
    undivided.base_model_prefix = ""
    assert choose_loss(undivided) is packed_loss


def test_rows_of_documents_keep_apart() -> None:
    """The fused loss passes positions on: another start of a document is another loss."""
    model = gpt2().eval()
    whole = replace(batch(), positions=torch.arange(24).expand(2, 24))
    losses: list[TokenLoss] = [fused_packed_loss(model, each) for each in (batch(), whole)]
    assert losses[0].total != losses[1].total


@pytest.mark.parametrize("build", [gpt2, adapted])
@pytest.mark.parametrize(
    ("device", "precision", "num_tokens", "expected"),
    [
        ("cpu", "bf16", WRITTEN_OUT_TOKENS, "eager"),
        ("cpu", "bf16", WRITTEN_OUT_TOKENS + 1, "sdpa"),
        ("cpu", "fp32", 32, "sdpa"),
        ("cuda", "bf16", 32, "sdpa"),
    ],
)
def test_attention_is_written_out_where_that_is_faster(
    build: Callable[[], Any],
    device: str,
    precision: Literal["fp32", "bf16"],
    num_tokens: int,
    expected: str,
) -> None:
    """The kernel of short rows in bf16 on a CPU is another one; what is saved does not say so."""
    model = build()
    placement = Placement(device=torch.device(device), precision=precision)
    choose_attention(model, placement=placement, num_tokens=num_tokens)
    assert model.config._attn_implementation == expected
    assert "eager" not in model.config.to_json_string()

"""Causal language models: loading one, its loss on packed text, its perplexity."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import IGNORED, TokenBatch
from training.device import Placement
from training.finetune import LossFunction, TokenLoss
from training.hub import hub_errors, is_away
from training.linear_cross_entropy import linear_cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


ModelT = TypeVar("ModelT", bound=nn.Module)

WRITTEN_OUT_TOKENS = 256
"""Longest rows whose attention `choose_attention` lets be written out."""


def load_language_model(name: str | Path, *, token: str | None = None) -> "PreTrainedModel":
    """Loads a causal language model from the hub or from a folder, in fp32 on the CPU.

    Args:
        name: Hub name ("distilgpt2") or folder.
        token: Hub token for a gated model.

    Raises:
        HubError: It is gated, unknown, damaged, or the hub is out of reach.
    """
    from transformers import AutoModelForCausalLM

    with hub_errors(str(name), "model"):
        local = is_away(name)
        model = AutoModelForCausalLM.from_pretrained(
            name,
            token=token,
            dtype=torch.float32,
            local_files_only=local,
            # It looks for an adapter first, and would ask an absent hub for that.
            adapter_kwargs={"local_files_only": local, "token": token},
        )
    return fuse_activations(model)


def fuse_activations(model: ModelT) -> ModelT:
    """Puts one kernel in the place of GPT-2's GELU, which transformers writes out in eight.

    The function is the same (GELU by tanh). A step of a small GPT-2 takes 5 to 12% less time on a
    CPU (torch 2.14, one core, fp32 and bf16, best of 3).

    Returns:
        The model, changed in place; its config is as it was.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "NewGELUActivation":
                setattr(parent, name, nn.GELU("tanh"))
    return model


def choose_attention(model: Any, *, placement: Placement, num_tokens: int) -> None:
    """Lets attention be written out where that is faster: in bf16 on a CPU, for short rows.

    The backward pass of torch's fused kernel is slow there. A step of a small GPT-2 takes 30% less
    time at 128 tokens and 9 to 14% less at 256 (torch 2.14, two cores with AVX-512 BF16, 2,048
    tokens a step); in fp32 the fused kernel is faster, and for long rows it needs far less memory.

    Args:
        model: One of transformers, with or without an adapter; changed in place.
        placement: Where and how precisely it is going to be trained.
        num_tokens: Longest row.
    """
    is_short = num_tokens <= WRITTEN_OUT_TOKENS
    if is_short and placement.device.type == "cpu" and placement.precision == "bf16":
        _without_adapter(model).set_attn_implementation("eager")


def context_length(model_config: Any) -> int:
    """Returns the longest sequence a model takes, in tokens."""
    return int(model_config.max_position_embeddings)


def check_length(num_tokens: int, model_config: Any, *, name: str) -> None:
    """Checks that sequences of `num_tokens` fit the model.

    Raises:
        ValueError: They are longer than its context; `name` says which setting to lower.
    """
    longest = context_length(model_config)
    if num_tokens > longest:
        raise ValueError(
            f"{name} is {num_tokens} tokens, and the model's context ends at {longest}; lower it"
        )


def packed_loss(model: nn.Module, batch: TokenBatch) -> TokenLoss:
    """Returns the summed loss of packed rows, where attention stays inside each document.

    Transformers derives the block mask from positions that restart; it does so only without a
    cache and without a padding mask.
    """
    output = model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False)
    return token_loss(output.logits, batch.labels, count_correct=not model.training)


def choose_loss(model: nn.Module) -> LossFunction[TokenBatch]:
    """Returns `packed_loss`, or `fused_packed_loss` where that gives the same.

    It does where the logits are a linear layer of the last hidden states and nothing else: found
    out by comparing both on a few tokens, since models scale or cap their logits in many ways.
    """
    causal = _without_adapter(model)
    head = causal.get_output_embeddings()
    is_plain = type(head) is nn.Linear and cast("Any", head).bias is None
    if not is_plain or causal.base_model is causal:
        return packed_loss
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(4, device=head.weight.device).remainder(head.out_features)[None]
            logits = model(input_ids=ids, use_cache=False).logits
            hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
            return fused_packed_loss if torch.equal(head(hidden), logits) else packed_loss
    finally:
        model.train(was_training)


def fused_packed_loss(model: nn.Module, batch: TokenBatch) -> TokenLoss:
    """Returns what `packed_loss` does, without keeping logits, softmax and their gradients."""
    causal = _without_adapter(model)
    output = causal.base_model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False)
    total, correct = linear_cross_entropy(
        output.last_hidden_state, causal.get_output_embeddings().weight, batch.labels
    )
    return TokenLoss(total, None if model.training else correct)


def _without_adapter(model: Any) -> Any:
    """Returns the model of transformers; the layers of an adapter stay in it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def token_loss(logits: Tensor, labels: Tensor, *, count_correct: bool) -> TokenLoss:
    """Returns the summed negative log-likelihood of `labels`, in fp32.

    Args:
        logits: (..., V).
        labels: (...), already shifted; IGNORED ones are skipped.
        count_correct: Also counts the targets that are the most likely token.
    """
    flat, wanted = logits.flatten(0, -2), labels.flatten()
    total = F.cross_entropy(flat.float(), wanted, ignore_index=IGNORED, reduction="sum")
    correct = (flat.argmax(-1) == wanted).sum() if count_correct else None
    return TokenLoss(total, correct)

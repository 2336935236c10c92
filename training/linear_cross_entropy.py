"""The output layer and its cross-entropy as one function, which keeps one array of logits.

Written out, the loss of N targets among V tokens makes five arrays of (N, V): the logits, their
fp32 copy, its logarithmic softmax, and the gradients of the last two. Here the logits become their
own gradient in place, a few rows at a time while these are in the processor's cache:

    L = sum_i (logsumexp(z_i) - z_i[y_i]),    dL/dz_i = softmax(z_i) - onehot(y_i),    z = h W'

That the gradient can be made in the forward pass is the idea of Hsu et al. 2024, "Liger Kernel:
Efficient Triton Kernels for LLM Training", section 3.2.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.batches import IGNORED

CACHED_BYTES = 2 << 20
"""Rows of a CPU in fp32 that are worked on at once: about what a core's cache holds."""

LAUNCHED_BYTES = 256 << 20
"""The same of a GPU, where each piece costs the launch of a few kernels."""


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the summed loss of `labels`, and how many of them are the most likely token.

    Under autocast logits and their gradient have its precision, else that of `hidden`; the softmax
    is in fp32 at least.

    Args:
        hidden: What the output layer is applied to, (..., D).
        weight: Its weights, (V, D); no gradient is made for them where they want none.
        labels: (...), already shifted; IGNORED ones are skipped.

    Returns:
        The loss, a scalar, and a count, which is 0 where gradients are recorded.
    """
    flat, wanted = hidden.flatten(0, -2), labels.flatten()
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        flat, weight = flat.to(dtype), weight.to(dtype)
    records = torch.is_grad_enabled() and (flat.requires_grad or weight.requires_grad)
    with torch.autocast(kind, enabled=False):
        result = _LinearCrossEntropy.apply(flat, weight, wanted, records)
    return cast("tuple[Tensor, Tensor]", result)


class _LinearCrossEntropy(torch.autograd.Function):
    """Keeps softmax minus one-hot in the place of the logits for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, records: bool
    ) -> tuple[Tensor, Tensor]:
        logits = hidden @ weight.t()
        accurate = torch.promote_types(logits.dtype, torch.float32)
        total = logits.new_zeros((), dtype=accurate)
        correct = labels.new_zeros(())
        counts = (labels != IGNORED).unsqueeze(1)
        wanted = labels.clamp(min=0).unsqueeze(1)
        size = max(1, _piece_bytes(logits) // (4 * logits.shape[1]))
        pieces = (torch.split(each, size) for each in (logits, wanted, counts))
        for rows, targets, counted in zip(*pieces, strict=True):
            log_p = torch.log_softmax(rows, dim=-1, dtype=accurate)
            total -= (log_p.gather(1, targets) * counted).sum()
            if records:
                p = log_p.exp_().scatter_add_(1, targets, log_p.new_full(targets.shape, -1.0))
                rows.copy_(p.mul_(counted))
            else:
                correct += ((rows.argmax(-1, keepdim=True) == targets) & counted).sum()
        if records:
            ctx.save_for_backward(hidden, weight, logits)
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, by_logits = ctx.saved_tensors
        by_hidden = by_weight = None
        if ctx.needs_input_grad[0]:
            by_hidden = (by_logits @ weight) * by_total
        if ctx.needs_input_grad[1]:
            by_weight = by_logits.t() @ (hidden * by_total)
        return by_hidden, by_weight, None, None


def _piece_bytes(logits: Tensor) -> int:
    return CACHED_BYTES if logits.device.type == "cpu" else LAUNCHED_BYTES

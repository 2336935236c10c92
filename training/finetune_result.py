"""How a fine-tuning went; without torch, so that light tasks can read it."""

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["completed", "early_stopped", "stopped"]


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """Training as of one reported step."""

    step: int
    """Optimiser steps done."""

    loss: float
    """Mean loss of the step's target tokens, in nats."""

    learning_rate: float
    """The step's learning rate."""

    gradient_norm: float
    """Norm of the gradient before clipping."""

    tokens_per_second: float
    """Tokens of all ranks over the time since the point before."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The model on the validation data as of one step."""

    step: int
    """Optimiser steps done."""

    loss: float
    """Mean negative log-likelihood of a target token, in nats."""

    token_accuracy: float
    """Share of the targets that are the most likely token."""

    num_targets: int
    """Target tokens measured."""

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        return math.exp(min(self.loss, 700.0))

    def metrics(self, prefix: str = "validation") -> dict[str, float]:
        """Returns the values by the names they are reported under."""
        return {
            f"{prefix}/loss": self.loss,
            f"{prefix}/perplexity": self.perplexity,
            f"{prefix}/token_accuracy": self.token_accuracy,
        }


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """How a run ended. The trained weights are in the model that was passed in."""

    status: Status
    """"completed", "early_stopped" (no better evaluation) or "stopped" (by the guard)."""

    stop_reason: str | None
    """Why it did not complete, or None."""

    steps: int
    """Optimiser steps done, over all attempts."""

    total_steps: int
    """Optimiser steps that were planned."""

    tokens: int
    """Tokens seen, over all ranks and attempts, without padding."""

    targets: int
    """Tokens the loss was taken of."""

    history: tuple[HistoryPoint, ...]
    """Training at the reported steps, over all attempts."""

    evaluations: tuple[Evaluation, ...]
    """Validation at its steps, over all attempts; empty without validation data."""

    best_step: int | None
    """The step of the lowest validation loss."""

    seconds: float
    """Wall time of this attempt."""

    step_seconds: tuple[float, ...]
    """Wall time of each optimiser step of this attempt (a GPU's are launches, not ends)."""

    resumed_from: int | None
    """The step this attempt resumed after, or None."""

"""How a model is fine-tuned; without torch, so that light tasks can read it."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How a model is fine-tuned."""

    epochs: int = 1
    """Passes over the data, where `steps` is 0."""

    steps: int = 0
    """Optimiser steps of the whole run; 0 leaves it to `epochs`."""

    learning_rate: float = 1e-4
    """Highest learning rate, at the end of the warm-up."""

    final_learning_rate: float = 0.1
    """Share of `learning_rate` at which the cosine ends."""

    warmup_fraction: float = 0.03
    """Share of the steps in which the learning rate rises linearly from 0."""

    weight_decay: float = 0.0
    """AdamW's decay of matrices; biases and norms have none."""

    beta2: float = 0.999
    """AdamW's memory of squared gradients."""

    accumulation: int = 1
    """Batches of each rank per optimiser step."""

    clip_norm: float = 1.0
    """Largest norm of the gradient; infinity does not clip."""

    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: less memory, about a third more time."""

    evaluate_every: int = 0
    """Steps between two evaluations; 0 evaluates before the first and after the last step only."""

    patience: int = 0
    """Evaluations without a better one after which the run ends; 0 never ends it early."""

    keep_best: bool = True
    """Whether the model ends with the weights of its best evaluation."""

    best_by: Literal["loss", "token_accuracy"] = "loss"
    """Which figure of the validation data tells the best evaluation."""

    log_every: int = 10
    """Steps between two reports of metrics."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 autocast, fp32, or whatever the hardware multiplies faster."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""

    seed: int = 0
    """Decides dropout; the order of the data is the batches' own."""

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.steps == 0 and self.epochs < 1):
            raise ValueError(
                f"steps is {self.steps}, epochs is {self.epochs}; give at least one of them"
            )
        for name in ("accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number")
        for name in ("warmup_fraction", "final_learning_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a share from 0 to 1")
        for name in ("evaluate_every", "patience", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 < self.beta2 < 1:
            raise ValueError(f"beta2 is {self.beta2}; give a number between 0 and 1")

    def total_steps(self, batches_per_epoch: int, world_size: int) -> int:
        """Returns the optimiser steps of the whole run."""
        return self.steps or self.epochs * self.steps_per_epoch(batches_per_epoch, world_size)

    def steps_per_epoch(self, batches_per_epoch: int, world_size: int) -> int:
        """Returns the optimiser steps of one epoch; the last may have fewer batches."""
        return math.ceil(batches_per_epoch / (world_size * self.accumulation))

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """Returns the learning rate of `step`, counted from 1: warm-up, then a cosine.

        >>> config = FinetuneConfig(learning_rate=1.0, warmup_fraction=0.1, final_learning_rate=0)
        >>> [round(config.learning_rate_at(step, 20), 2) for step in (1, 2, 11, 20)]
        [0.5, 1.0, 0.5, 0.0]
        """
        warmup = math.ceil(self.warmup_fraction * total_steps)
        if step <= warmup:
            return self.learning_rate * step / warmup
        done = (step - warmup) / max(1, total_steps - warmup)
        low = self.final_learning_rate
        return self.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)

"""What the two benchmarks of fine-tuning share: how ours and a peer's Trainer are timed."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from training.finetune_config import FinetuneConfig


@dataclass(frozen=True)
class Stopwatch:
    """Losses and times of a transformers Trainer's steps."""

    losses: list[float] = field(default_factory=list)
    """Loss of each step."""

    seconds: list[float] = field(default_factory=list)
    """Wall time of each step."""

    def callback(self) -> Any:
        """Returns the callback that fills both lists."""
        from transformers import TrainerCallback

        losses, seconds = self.losses, self.seconds

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                seconds.append(-time.perf_counter())

            def on_step_end(self, *_: Any, **__: Any) -> None:
                seconds[-1] += time.perf_counter()

            def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
                losses.extend([logs["loss"]] if "loss" in logs else [])

        return Clock()


def our_config(learning_rate: float, precision: str) -> FinetuneConfig:
    """Returns our loop's settings: a constant learning rate, every loss reported."""
    kind: Literal["bf16", "fp32"] = "bf16" if precision == "bf16" else "fp32"
    return FinetuneConfig(
        learning_rate=learning_rate,
        warmup_fraction=0.0,
        final_learning_rate=1.0,
        precision=kind,
        log_every=1,
    )

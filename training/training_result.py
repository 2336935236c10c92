"""What a training run came to: typed, and JSON at the border."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch, over all ranks."""

    epoch: int
    """Counted from 1."""

    step: int
    """Optimiser steps done at its end."""

    train_loss: float
    """Mean training loss, with label smoothing, on shifted pictures and with dropout."""

    train_accuracy: float
    """Part of the training pictures that were right as they were trained on."""

    test_loss: float | None
    """Mean loss on the held-out pictures, without label smoothing; None if not scored."""

    test_accuracy: float | None
    """Part of the held-out pictures that are right; None if not scored."""

    learning_rate: float
    """That of the last step."""

    images_per_second: float
    """Training pictures by `train_seconds`."""

    train_seconds: float
    """Time in training steps, without scoring and checkpoints."""

    test_seconds: float
    """Time spent scoring."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run came to; the same on every rank, except for its own timings."""

    status: Literal["completed", "stopped"]
    """Whether it went to the end, or a guard stopped it."""

    stop_reason: str | None
    """What the guard said."""

    steps: int
    """Optimiser steps done, over all attempts."""

    total_steps: int
    """Optimiser steps of the whole run."""

    resumed_from_step: int
    """The step of the checkpoint this attempt began at; 0 for a fresh start."""

    epochs: int
    """Epochs of the whole run."""

    history: tuple[EpochRecord, ...]
    """The finished epochs, over all attempts."""

    train_seconds: float
    """Time in training steps over all attempts that a checkpoint kept, without scoring."""

    step_seconds: tuple[float, ...]
    """Seconds of each step of this attempt; on a GPU the mean between two readings."""

    model_file: str
    """The name of the safetensors file in the output folder; `load_cnn` takes the folder."""

    model_sha256: str
    """Of that file."""

    dataset_sha256: str
    """Of the prepared data."""

    config: Mapping[str, Any]
    """The configuration as used, by field: `epochs` is filled in."""

    device: str
    """The type of device: "cpu", "cuda" or "mps"."""

    precision: str
    """"fp32" or "bf16"."""

    world_size: int
    """Processes."""

    @property
    def median_step_seconds(self) -> float | None:
        """The median step of this attempt; None if it made no step."""
        return median(self.step_seconds) if self.step_seconds else None

    def to_json(self) -> str:
        """Writes the result as JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrainingResult":
        """Reads what `to_json` wrote."""
        record: dict[str, Any] = json.loads(text)
        record["history"] = tuple(EpochRecord(**epoch) for epoch in record["history"])
        record["step_seconds"] = tuple(record["step_seconds"])
        return cls(**record)

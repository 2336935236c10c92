"""How an image classifier is trained; without torch, so that light tasks can read it."""

import math
from dataclasses import dataclass

from training.choices import DEVICES, PRECISIONS
from training.schedule import SCHEDULES, Schedule

IMAGES_BY_DEFAULT = 120_000
"""What `epochs` amounts to where it is left open: 2 epochs of 60,000 pictures."""

FEW_IMAGES = 10_000
"""Below this many pictures smaller batches gain accuracy, and steadiness over seeds."""

SHIFTING_EPOCHS = 10
"""Where pictures are seen this often they are shifted by default; seen less often, it costs
accuracy: the network is better served by the pictures as they are."""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How an image classifier is trained; the defaults were tuned on held-out training pictures."""

    epochs: int | None = None
    """Passes over the training pictures; None takes as many as make `IMAGES_BY_DEFAULT`."""

    batch_size: int | None = None
    """Pictures per optimiser step over all ranks: more ranks leave the learning rate as it is. None
    takes 128, and 64 where there are fewer than `FEW_IMAGES` to train on."""

    learning_rate: float = 2e-3
    """The peak of the schedule."""

    weight_decay: float = 0.01
    """AdamW's, on all weights."""

    schedule: Schedule = "one-cycle"
    """How the learning rate goes on after the warm-up: see `learning_rate_factor`."""

    warmup_fraction: float = 0.2
    """The part of all steps over which the learning rate rises to its peak."""

    label_smoothing: float = 0.05
    """The part of each label that is spread over all classes."""

    shift_pixels: int | None = None
    """The largest random shift of a training picture in each direction; 0 for none. None takes 2
    from `SHIFTING_EPOCHS` epochs on, and 0 below."""

    clip_norm: float = 1.0
    """The largest norm of the gradient over all weights."""

    seed: int = 0
    """What every random number of the run follows from."""

    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""

    precision: str = "auto"
    """"auto", "fp32" or "bf16"."""

    evaluate_epochs: bool = True
    """Whether the held-out pictures are scored after every epoch, or only after the last."""

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("epochs", self.epochs is None or self.epochs >= 1, "1 or more, or leave it open"),
            (
                "batch_size",
                self.batch_size is None or self.batch_size >= 1,
                "1 or more, or leave it open",
            ),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a positive number"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("schedule", self.schedule in SCHEDULES, " or ".join(SCHEDULES)),
            ("warmup_fraction", 0 <= self.warmup_fraction < 1, "0 or more and less than 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 or more and less than 1"),
            ("shift_pixels", self.shift_pixels in (None, *range(9)), "0 to 8, or leave it open"),
            ("clip_norm", self.clip_norm > 0, "a positive number"),
            ("seed", 0 <= self.seed < 2**63, "0 or more, below 2**63"),
            ("device", self.device in DEVICES, " or ".join(DEVICES)),
            ("precision", self.precision in PRECISIONS, " or ".join(PRECISIONS)),
        ]
        for name, is_valid, wanted in checks:
            if not is_valid:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give {wanted}")

    def epochs_for(self, train_count: int) -> int:
        """Returns `epochs`, or what it amounts to for that many training pictures if left open.

        >>> ClassifierConfig().epochs_for(60_000), ClassifierConfig().epochs_for(4_000)
        (2, 30)
        """
        return self.epochs or max(1, round(IMAGES_BY_DEFAULT / train_count))

    def batch_size_for(self, train_count: int) -> int:
        """Returns `batch_size`, or what it amounts to for that many training pictures.

        >>> ClassifierConfig().batch_size_for(60_000), ClassifierConfig().batch_size_for(4_000)
        (128, 64)
        """
        return self.batch_size or (64 if train_count < FEW_IMAGES else 128)

    def shift_pixels_for(self, train_count: int) -> int:
        """Returns `shift_pixels`, or what it amounts to for that many training pictures.

        >>> config = ClassifierConfig()
        >>> config.shift_pixels_for(60_000), config.shift_pixels_for(4_000)
        (0, 2)
        """
        if self.shift_pixels is not None:
            return self.shift_pixels
        return 2 if self.epochs_for(train_count) >= SHIFTING_EPOCHS else 0


def training_flop_per_image(height: int, width: int) -> float:
    """Floating-point operations of training the CNN on one picture of `height` x `width` pixels.

    Two for each multiply-add of both convolutions and the hidden layer, and three times the
    forward pass, since the backward pass costs about twice as much.

    >>> f"{training_flop_per_image(28, 28):.3g}"
    '7.19e+07'
    """
    first = (height - 2) * (width - 2) * 32 * 9
    second = (height - 4) * (width - 4) * 64 * 32 * 9
    hidden = 64 * ((height - 4) // 2) * ((width - 4) // 2) * 128
    return 3.0 * 2.0 * (first + second + hidden)

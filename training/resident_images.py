"""A data set on the device: one tensor of bytes, gathered, shifted and normalised per batch.

There is no worker, no per-picture transform and no copy per step: 60,000 pictures are 47 MB.

B pictures in a batch over all ranks, b of them on this one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.augment import Shifts
from training.device import Placement
from training.distributed import Ranks, sum_over_ranks
from training.image_data import ImageData
from training.sharding import share

SCORING_BATCH_SIZE = 500
"""Pictures per forward pass without gradients; larger ones fall out of a CPU's cache."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a model does on the held-out pictures."""

    loss: float
    """Mean cross-entropy, natural logarithm."""

    accuracy: float
    """Part that is right."""


class ResidentImages:
    """The pictures of a run where it computes."""

    def __init__(self, data: ImageData, *, shift_pixels: int, placement: Placement) -> None:
        self._placement = placement
        self._train = Shifts(self._resident(data.train.images), pixels=shift_pixels)
        self._train_labels = self._resident(data.train.labels)
        self._test_images = self._resident(data.test.images)
        self._test_labels = self._resident(data.test.labels)

    def training_batch(self, batch: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, float]:
        """Returns this rank's part of a batch, shifted: (b, H, W) uint8, (b,) and its weight.

        The weight is 1, or 0 for a rank that a small batch leaves without a picture: it computes
        on one all the same, since all ranks must take part in the exchange of gradients.
        """
        mine = share(batch, ranks)
        weight = 1.0 if len(mine) else 0.0
        indices = self._resident(mine if len(mine) else batch[:1])
        return self._train.batch(indices), self._train_labels[indices], weight

    @torch.inference_mode()
    def score(self, model: nn.Module, ranks: Ranks) -> Scores:
        """Scores the held-out pictures, each on one rank; the result is the same on all."""
        was_training = model.training
        model.eval()
        loss_sum, correct = 0.0, 0
        mine = share(torch.arange(len(self._test_labels)), ranks)
        for indices in mine.split(SCORING_BATCH_SIZE) if len(mine) else ():  # type: ignore[no-untyped-call]
            chosen = self._resident(indices)
            labels = self._test_labels[chosen]
            with self._placement.autocast():
                logits = model(self._test_images[chosen]).float()
            loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
        model.train(was_training)
        loss, right = sum_over_ranks([loss_sum, correct], ranks)
        count = len(self._test_labels)
        return Scores(loss=loss / count, accuracy=right / count)

    def _resident(self, tensor: Tensor) -> Tensor:
        """Moves a tensor to the device, through pinned memory where that lets it overlap."""
        if self._placement.is_cuda:
            return tensor.pin_memory().to(self._placement.device, non_blocking=True)
        return tensor.to(self._placement.device)

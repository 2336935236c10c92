"""What the fine-tune loop asks of a batch, and where batches come from."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

IGNORED = -100
"""The label of a token that is not predicted; torch's cross entropy skips it."""


class Batch(Protocol):
    """One forward pass's worth of data."""

    @property
    def num_targets(self) -> int:
        """Tokens that the loss is summed over."""

    @property
    def num_tokens(self) -> int:
        """Tokens the batch stands for, without padding."""

    def to(self, device: torch.device) -> Self:
        """Returns the batch on `device`."""


BatchT_co = TypeVar("BatchT_co", bound=Batch, covariant=True)


class Batches(Protocol[BatchT_co]):
    """A finite epoch of batches with random access, so that any step can be resumed from."""

    def __len__(self) -> int:
        """Returns the batches of an epoch, over all ranks."""

    def batch(self, epoch: int, index: int) -> BatchT_co:
        """Returns batch `index` of `epoch` (counted from 0); same arguments, same batch."""


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Rows of tokens with a label each. B rows, T columns."""

    ids: Tensor
    """Token ids, (B, T)."""

    labels: Tensor
    """The token each position predicts, or IGNORED; (B, T). Already shifted."""

    positions: Tensor
    """Position of each token in its own document, (B, T); a restart begins a document."""

    num_tokens: int
    """Tokens that are not padding."""

    @property
    def num_targets(self) -> int:
        """Labels that are not IGNORED."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> "TokenBatch":
        """Returns the batch on `device`."""
        return replace(
            self,
            ids=self.ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            positions=self.positions.to(device, non_blocking=True),
        )


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((seed, epoch)).permutation(count).tolist())


def shuffled(count: int, *, seed: int, epoch: int | None) -> tuple[int, ...]:
    """Returns the numbers below `count` in the order of `epoch`; without one, ascending."""
    return tuple(range(count)) if epoch is None else _order(count, seed, epoch)

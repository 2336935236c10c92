"""Which pictures a rank sees at a step: every one exactly once per epoch over all ranks.

An epoch is a permutation cut into batches whose sizes differ by one at most, and each batch into
one share per rank, likewise. So there is no small last batch, and the same pictures make up the
same batch whatever the number of ranks.
"""

import math

import numpy as np
import torch
from torch import Tensor

from training.distributed import Ranks


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Returns the batches of an epoch, none larger than `batch_size`.

    >>> steps_per_epoch(60_000, 128)
    469
    """
    return math.ceil(count / batch_size)


def epoch_batches(count: int, *, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Returns the batches of an epoch, each the indices of its pictures: equal on every rank."""
    generator = torch.Generator().manual_seed(derived_seed(seed, 1, epoch))
    order = torch.randperm(count, generator=generator)
    return list(order.tensor_split(steps_per_epoch(count, batch_size)))


def share(batch: Tensor, ranks: Ranks) -> Tensor:
    """Returns this rank's part of a batch; it may be empty where ranks outnumber pictures.

    >>> [share(torch.arange(5), Ranks(rank, 2)).tolist() for rank in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    return batch.tensor_split(ranks.world_size)[ranks.rank]


def derived_seed(*parts: int) -> int:
    """Mixes numbers into one seed of 63 bits; the same on every machine and version."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))

"""The processes of one run: who this one is, and the few things they say to each other.

The same loop runs in one process and under torchrun or Flyte's `Elastic`: without a `WORLD_SIZE`
above 1 in the environment there is one rank, no process group, and every function here is free.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """One process among those of a run."""

    rank: int = 0
    """This process, counted from 0 over all machines."""

    world_size: int = 1
    """Processes of the run."""

    local_rank: int = 0
    """This process among those of its machine: the number of its GPU."""

    @property
    def is_main(self) -> bool:
        """Whether this process reports and writes: rank 0 alone does."""
        return self.rank == 0


def ranks_from_environment(environ: Mapping[str, str] | None = None) -> Ranks:
    """Reads what torchrun sets; one rank where it set nothing.

    >>> ranks_from_environment({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"})
    Ranks(rank=1, world_size=2, local_rank=1)
    """
    environ = os.environ if environ is None else environ
    if int(environ.get("WORLD_SIZE", "1")) < 2:
        return Ranks()
    return Ranks(int(environ["RANK"]), int(environ["WORLD_SIZE"]), int(environ["LOCAL_RANK"]))


@contextmanager
def process_group(*, timeout_seconds: float = 300.0) -> Iterator[Ranks]:
    """Joins the other processes of the run, and leaves them at the end.

    NCCL carries tensors on a GPU, gloo those on the CPU; both are there on a GPU, so that control
    messages never wait for it.

    Args:
        timeout_seconds: How long a rank waits for the others in one operation. A rank that dies
            without a word (out of memory) holds the others no longer than this.
    """
    ranks = ranks_from_environment()
    if ranks.world_size == 1:
        yield ranks
        return
    # DDP imports this module, whose functions take the group that exists by then as a default and
    # keep it for good. Its threads would outlive the end of Python, which aborts the process.
    import torch.distributed.nn.functional

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    try:
        yield ranks
    finally:
        gc.collect()  # a DDP model, which holds the group, is part of a cycle
        dist.destroy_process_group()


def agree(reason: str | None, ranks: Ranks) -> str | None:
    """Returns rank 0's `reason` on every rank, so that all stop at the same step."""
    return text_from_main(reason or "", ranks) or None


def text_from_main(text: str, ranks: Ranks) -> str:
    """Returns rank 0's `text` on every rank.

    An empty one costs a single message of eight bytes (about 0.1 ms on one machine). Messages go
    from CPU to CPU and do not wait for a GPU.
    """
    if ranks.world_size == 1:
        return text
    content = text.encode()
    (length,) = from_main([len(content)], ranks)
    if not length:
        return ""
    buffer = torch.zeros(length, dtype=torch.uint8)
    if ranks.is_main:
        buffer[:] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(buffer, src=0)
    return buffer.numpy().tobytes().decode()


def from_main(values: Sequence[int], ranks: Ranks) -> list[int]:
    """Returns rank 0's `values` on every rank; the other ranks give as many of their own."""
    if ranks.world_size == 1:
        return list(values)
    message = torch.tensor(list(values), dtype=torch.int64)
    dist.broadcast(message, src=0)
    return [int(value) for value in message]


def tensor_from_main(tensor: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """Fills `tensor` with rank 0's values, in place, and returns it."""
    if ranks.world_size > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def sum_over_ranks(values: Sequence[float], ranks: Ranks) -> list[float]:
    """Returns the sums over all ranks, in float64, on every rank."""
    if ranks.world_size == 1:
        return list(values)
    total = torch.tensor(list(values), dtype=torch.float64)
    dist.all_reduce(total)
    return [float(value) for value in total]


def sum_tensor_over_ranks(tensor: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """Adds `tensor` up over all ranks, in place, and returns it."""
    if ranks.world_size > 1:
        dist.all_reduce(tensor)
    return tensor


def barrier(ranks: Ranks) -> None:
    """Waits until every rank is here; through the CPU, so that no GPU has to be idle for it."""
    sum_over_ranks([0.0], ranks)

"""Hands rank 0's tensors to the other ranks, so that one of them alone reads a checkpoint."""

import json
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from training.distributed import Ranks, agree


def share_tensors(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Returns rank 0's named CPU tensors on every rank; what the others pass is not looked at."""
    if ranks.world_size == 1:
        return dict(tensors)
    layout = [
        (name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
        for name, tensor in tensors.items()
    ]
    shared: dict[str, Tensor] = {}
    for name, dtype, shape in json.loads(agree(json.dumps(layout), ranks) or "[]"):
        own = tensors[name].contiguous() if ranks.is_main else None
        tensor = torch.empty(shape, dtype=getattr(torch, dtype)) if own is None else own
        dist.broadcast(tensor, src=0)
        shared[name] = tensor
    return shared

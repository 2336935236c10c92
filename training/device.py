"""Where a run computes, and in which precision."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from training.choices import DEVICES, PRECISIONS


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The device of this process and the precision of its forward pass."""

    device: torch.device
    """Where the model and the data live."""

    precision: Literal["fp32", "bf16"]
    """bf16 means autocast: weights, optimiser and loss stay in fp32."""

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which forward passes run."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def is_cuda(self) -> bool:
        """Whether this is an NVIDIA (or ROCm) GPU."""
        return self.device.type == "cuda"


def choose_placement(
    *, device: str = "auto", precision: str = "auto", local_rank: int = 0
) -> Placement:
    """Picks the device and precision of this process.

    Args:
        device: "auto" takes an NVIDIA GPU, else Apple's, else the CPU.
        precision: "auto" takes bf16 where the hardware multiplies it, else fp32.
        local_rank: The number of the GPU where there are several.

    Raises:
        ValueError: A name is unknown, or the device is not here.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; give {' or '.join(PRECISIONS)}")
    chosen = _device(device, local_rank)
    wants_bf16 = precision == "bf16" or (precision == "auto" and multiplies_bf16(chosen))
    return Placement(device=chosen, precision="bf16" if wants_bf16 else "fp32")


def multiplies_bf16(device: torch.device) -> bool:
    """Says whether `device` has instructions for bf16, so that autocast makes it faster.

    On a CPU those are AMX or AVX-512 BF16. Apple's GPUs are left at fp32, where bf16 gains little.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 - no public name up to 2.14
    return False


def keep_freed_memory() -> None:
    """Makes this process reuse the memory of freed tensors, where the C library can be told to.

    By default glibc gives large blocks back to the kernel at every free and gets them again, page
    by page, at the next step: 9,000 page faults in a step of the image network, and a fifth to a
    third of its time (2.14, one thread of a Zen 5, batch 64 to 256). Elsewhere this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # from malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)
    mallopt(mmap_max, 0)


def _device(name: str, local_rank: int) -> torch.device:
    here: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name == "auto":
        name = next(kind for kind, is_here in here.items() if is_here())
    elif name not in here:
        raise ValueError(f"device is {name!r}; give {' or '.join(DEVICES)}")
    elif not here[name]():
        raise ValueError(f"device is {name!r}, and this machine has none; give 'auto' or 'cpu'")
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)

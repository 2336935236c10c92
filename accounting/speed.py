"""How long a planned run should take: from measured speed where there is any, else from a model.

The answer carries its basis in words, so that nobody mistakes a guess for a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from accounting.quantities import exact
from accounting.usage import Resources, known_accelerator

CORE_GFLOP_PER_SECOND = 20
"""What one CPU core sustains in training, fp32; a cautious figure for AVX2 machines."""

PEAK_TFLOP_PER_SECOND = {
    "generic": 65.0,
    "p4": 5.5,
    "p100": 18.7,
    "t4": 65.0,
    "l4": 121.0,
    "v100": 125.0,
    "a100": 312.0,
    "a100-80gb": 312.0,
    "h100": 989.0,
}
"""Dense half-precision peak by NVIDIA's data sheets (P4: single precision)."""

GPU_EFFICIENCY = 0.3
"""Share of the peak that training sustains when the model is large enough to fill the GPU."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do."""

    items: int
    """Items of all epochs together: images or tokens."""

    flop_per_item: float
    """Floating-point operations of training on one item; forward and backward are about three
    times forward."""

    unit: str = "images"
    """What `items` counts."""

    startup_seconds: float = 0.0
    """Imports, data and other time in which no item is done."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How long a run should take, and how that is known."""

    seconds: Decimal
    """Wall time."""

    basis: str
    """Where the figure comes from, for people."""

    measured: bool
    """Whether it rests on measured speed."""


def expected_time(work: Work, resources: Resources, *, measured: Sequence[float] = ()) -> Expected:
    """Expects a run's time by the median of measured speeds, or by a stated model without any.

    Args:
        work: What is to be done.
        resources: What the run holds; used by the model alone.
        measured: Items per second of earlier runs like this one, all processes together.

    >>> cnn = Work(items=120_000, flop_per_item=72e6, startup_seconds=5)
    >>> expected_time(cnn, Resources(cores=2), measured=[2_900.0, 3_000.0, 3_300.0]).seconds
    Decimal('45.000')
    >>> expected_time(cnn, Resources(cores=2)).basis
    'model: 8.64e+12 FLOP at 20 GFLOP/s per core on 2 cores'

    Raises:
        ValueError: A figure is negative, or nothing can do the work.
    """
    for field in ("items", "flop_per_item", "startup_seconds"):
        exact(getattr(work, field), field=field)
    if measured:
        speed = median(measured)
        if speed <= 0:
            raise ValueError(f"measured is {speed} {work.unit}/s; give speeds above 0")
        runs = "run" if len(measured) == 1 else f"median of {len(measured)} runs"
        basis = f"measured: {speed:,.0f} {work.unit}/s ({runs})"
        return Expected(
            seconds=_rounded(work.items / speed + work.startup_seconds),
            basis=basis,
            measured=True,
        )
    flop = work.items * work.flop_per_item
    speed, basis = _modelled_speed(resources)
    return Expected(
        seconds=_rounded(flop / speed + work.startup_seconds),
        basis=f"model: {flop:.3g} FLOP at {basis}",
        measured=False,
    )


def _modelled_speed(resources: Resources) -> tuple[float, str]:
    """Gives FLOP/s of all processes and says how."""
    if resources.gpus > 0:
        known = known_accelerator(resources.gpu_type, PEAK_TFLOP_PER_SECOND) or "generic"
        peak = PEAK_TFLOP_PER_SECOND[known]
        count = float(resources.gpus) * resources.world_size
        basis = f"{GPU_EFFICIENCY:.0%} of {peak:g} TFLOP/s ({known}) on {count:g} GPUs"
        return peak * 1e12 * GPU_EFFICIENCY * count, basis
    count = float(resources.cores) * resources.world_size
    if count == 0:
        raise ValueError("cores is 0 and so is gpus; give at least one of them to do the work")
    basis = f"{CORE_GFLOP_PER_SECOND} GFLOP/s per core on {count:g} cores"
    return CORE_GFLOP_PER_SECOND * 1e9 * count, basis


def _rounded(seconds: float) -> Decimal:
    return Decimal(f"{seconds:.3f}")

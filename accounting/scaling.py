"""How a training step scales with the number of workers: compute plus communication.

A step of synchronous data-parallel training on n workers takes

    step(n) = fixed + compute / n + exposed(n)
    all_reduce(n) = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency
    exposed(n) = max(all_reduce(n) - overlap * compute / n, 0)

`compute` is the part of a step that shrinks with the batch of one worker (the global batch is
kept), `fixed` the part that does not, and the all-reduce is the ring algorithm's alpha-beta cost
(Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH",
2005). Only what is trained is sent: all gradients, or the adapters alone under LoRA.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounting.bounds import at_least_one, fraction, not_negative, positive
from accounting.least_squares import non_negative_least_squares

BYTES_PER_VALUE = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True, kw_only=True)
class Network:
    """The link between workers."""

    bandwidth_bytes_per_second: float
    """What one worker can send in a second."""
    latency_seconds: float
    """What one message costs whatever its size."""

    def __post_init__(self) -> None:
        positive("bandwidth_bytes_per_second", self.bandwidth_bytes_per_second)
        not_negative("latency_seconds", self.latency_seconds)


# Line rates with a typical TCP latency; a fit to measured points replaces them.
NETWORKS = {
    "1gbe": Network(bandwidth_bytes_per_second=125e6, latency_seconds=100e-6),
    "2.5gbe": Network(bandwidth_bytes_per_second=312.5e6, latency_seconds=100e-6),
    "10gbe": Network(bandwidth_bytes_per_second=1.25e9, latency_seconds=50e-6),
    "25gbe": Network(bandwidth_bytes_per_second=3.125e9, latency_seconds=30e-6),
    "100gbe": Network(bandwidth_bytes_per_second=12.5e9, latency_seconds=10e-6),
}


def gradient_bytes(parameters: int, *, precision: str = "fp32") -> int:
    """Bytes one worker sends for `parameters` trained values.

    >>> gradient_bytes(81_912_576)  # DistilGPT2, all of it
    327650304
    """
    if precision not in BYTES_PER_VALUE:
        known = ", ".join(BYTES_PER_VALUE)
        raise ValueError(f"precision is {precision!r}; use one of {known}")
    not_negative("parameters", parameters)
    return parameters * BYTES_PER_VALUE[precision]


def adapter_parameters(layers: Iterable[tuple[int, int]], *, rank: int) -> int:
    """Values that LoRA trains: rank x (inputs + outputs) for each adapted (inputs, outputs) layer.

    >>> adapter_parameters([(768, 2304)] * 6, rank=8)  # the attention layers of DistilGPT2
    147456
    """
    positive("rank", rank)
    return sum(rank * (inputs + outputs) for inputs, outputs in layers)


@dataclass(frozen=True, kw_only=True)
class ScalingModel:
    """Seconds per step as a function of the number of workers, at a constant global batch."""

    compute_seconds: float
    """The part of a one-worker step that is divided among the workers."""
    payload_bytes: float
    """Bytes of gradients that a step sends; see `gradient_bytes` and `adapter_parameters`."""
    network: Network
    """The link between the workers."""
    fixed_seconds: float = 0.0
    """The part of a step that no worker takes from another (kernel launches, Python)."""
    overlap: float = 0.0
    """Assumed fraction of compute that hides communication; 0 promises nothing."""
    source: str = "stated"
    """Where the numbers come from: "stated", or "fitted to N points"."""

    def __post_init__(self) -> None:
        for name in ("compute_seconds", "payload_bytes", "fixed_seconds"):
            not_negative(name, getattr(self, name))
        fraction("overlap", self.overlap)
        if self.compute_seconds + self.fixed_seconds <= 0:
            raise ValueError("compute_seconds and fixed_seconds are both 0; a step takes time")

    def all_reduce_seconds(self, workers: int) -> float:
        """Seconds of the ring all-reduce of one step, hidden or not."""
        at_least_one("workers", workers)
        transfer = self.payload_bytes / self.network.bandwidth_bytes_per_second
        hops = 2 * (workers - 1)
        return hops / workers * transfer + hops * self.network.latency_seconds

    def exposed_seconds(self, workers: int) -> float:
        """Seconds of the all-reduce that the overlap does not hide."""
        hidden = self.overlap * self.compute_seconds / workers
        return max(self.all_reduce_seconds(workers) - hidden, 0.0)

    def step_seconds(self, workers: int) -> float:
        """Seconds of one step of the global batch on `workers` workers."""
        at_least_one("workers", workers)
        exposed = self.exposed_seconds(workers)
        return self.fixed_seconds + self.compute_seconds / workers + exposed

    def speedup(self, workers: int) -> float:
        """How many times faster than one worker; below 1 it is slower."""
        return self.step_seconds(1) / self.step_seconds(workers)

    def efficiency(self, workers: int) -> float:
        """Speed-up per worker; the cost of a run grows by its inverse."""
        return self.speedup(workers) / workers

    def fastest(self, most: int) -> int:
        """The number of workers up to `most` with the shortest step; the smaller one on a tie."""
        at_least_one("most", most)
        return min(range(1, most + 1), key=lambda workers: (self.step_seconds(workers), workers))

    def verdict(self, workers: int) -> str:
        """One line for people: is it faster than one worker, and what decides it?

        >>> distilgpt2 = ScalingModel(
        ...     compute_seconds=1.0,
        ...     payload_bytes=gradient_bytes(81_912_576),
        ...     network=NETWORKS["1gbe"],
        ... )
        >>> distilgpt2.verdict(2)
        '2 workers are 3.1x slower than one: 3.12 s against 1.00 s a step, 2.62 s of it all-reduce'
        """
        together, alone = self.step_seconds(workers), self.step_seconds(1)
        if workers == 1:
            return f"1 worker: {_seconds(alone)} a step, nothing is sent"
        exposed = _seconds(self.exposed_seconds(workers))
        times = f"{_seconds(together)} against {_seconds(alone)} a step, {exposed} of it all-reduce"
        if together >= alone:
            return f"{workers} workers are {together / alone:.1f}x slower than one: {times}"
        efficiency = self.efficiency(workers)
        return (
            f"{workers} workers are {alone / together:.2f}x faster than one "
            f"({efficiency:.0%} efficiency): {times}"
        )

    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on, one sentence each."""
        gbit = self.network.bandwidth_bytes_per_second * 8 / 1e9
        ring = (
            f"ring all-reduce of {self.payload_bytes / 1e6:.1f} MB over {gbit:.3g} Gbit/s with "
            f"{self.network.latency_seconds * 1e6:.3g} us a message ({self.source})"
        )
        return (
            "the global batch stays the same, so each worker computes its share of it",
            ring,
            f"{self.overlap:.0%} of compute hides communication"
            if self.overlap
            else "no communication hides behind compute",
        )


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """One measurement: the mean seconds of a step of the same global batch."""

    workers: int
    """How many workers shared the batch."""
    step_seconds: float
    """Mean seconds of a step."""

    def __post_init__(self) -> None:
        at_least_one("workers", self.workers)
        positive("step_seconds", self.step_seconds)


def fit(
    points: Sequence[ScalingPoint],
    *,
    payload_bytes: float,
    network: Network,
    fixed_seconds: float = 0.0,
) -> ScalingModel:
    """Fits compute, bandwidth and latency to measured points by non-negative least squares.

    As many quantities are fitted as there are different worker counts: compute first, then
    bandwidth, then latency; the others stay as stated. `fixed_seconds` is never fitted, since
    2 (n - 1) / n = 2 - 2 / n: no series of points tells it from compute and bandwidth together.
    A fitted bandwidth is the effective one, after whatever overlap the measured runs had, so the
    model returned assumes no further overlap.

    Raises:
        ValueError: there is no point, or the points leave no time for compute.
    """
    if not points:
        raise ValueError("points is empty; give at least one measured (workers, step_seconds)")
    positive("payload_bytes", payload_bytes)
    stated = [0.0, payload_bytes / network.bandwidth_bytes_per_second, network.latency_seconds]
    free = min(len({point.workers for point in points}), 3)
    rows, targets = [], []
    for point in points:
        n = point.workers
        row = [1 / n, 2 * (n - 1) / n, 2.0 * (n - 1)]
        known = sum(value * x for value, x in zip(stated[free:], row[free:], strict=True))
        rows.append(row[:free])
        targets.append(point.step_seconds - fixed_seconds - known)
    fitted = non_negative_least_squares(rows, targets)
    compute, transfer, latency = [*fitted, *stated[free:]]
    if not compute:
        raise ValueError(
            f"fixed_seconds is {fixed_seconds} and the stated network explains all of the "
            "measured step_seconds; lower fixed_seconds or measure more worker counts"
        )
    # A transfer fitted to zero is communication that never showed: an endless bandwidth.
    bandwidth = payload_bytes / transfer if transfer > 0 else float("inf")
    return ScalingModel(
        compute_seconds=compute,
        payload_bytes=payload_bytes,
        network=Network(bandwidth_bytes_per_second=bandwidth, latency_seconds=latency),
        fixed_seconds=fixed_seconds,
        source=f"fitted to {len(points)} point{'s' if len(points) > 1 else ''}",
    )


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"

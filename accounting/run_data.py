"""What is known about a run that somebody wants to pay less for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from accounting.bill import Bill, bill
from accounting.bounds import positive
from accounting.early_stopping import MetricHistory
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.scaling import ScalingModel
from accounting.throughput import BatchPoint
from accounting.usage import Attempt, Resources, Utilisation

MOST_WAIT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What is known about a run. Only the first two fields are needed; each other one opens a way.

    All times are those of the run as it was: its batch, its precision, its workers.
    """

    attempts: Sequence[Attempt]
    """The run's attempts, the killed ones included."""
    card: RateCard
    """The rates."""
    steps: int | None = None
    """Steps that the run did."""
    step_seconds: float | None = None
    """Mean seconds of a step."""
    batch_size: int | None = None
    """Items in a step."""
    batch_points: Sequence[BatchPoint] = ()
    """Measured steps at several batch sizes, such as a short sweep."""
    gpu_memory_gib: float | None = None
    """Peak memory of one GPU in use."""
    gpu_memory_limit_gib: float | None = None
    """Memory of one GPU."""
    metric: MetricHistory | None = None
    """The metric of the evaluations during training."""
    precision: str = "fp32"
    """Precision of the run."""
    precision_points: Mapping[str, float] = field(default_factory=dict)
    """Measured seconds of the same step by precision."""
    scaling: ScalingModel | None = None
    """How a step scales with workers."""
    most_workers: int = 8
    """How many workers may be had."""
    preemption: Preemption | None = None
    """How spot capacity behaves."""
    wait: timedelta = MOST_WAIT
    """How long the start could have been put off."""

    def __post_init__(self) -> None:
        """Refuses a run without attempts or with values that cannot be."""
        if not self.attempts:
            raise ValueError("attempts is empty; give at least one attempt of the run")
        for name in ("steps", "step_seconds", "batch_size", "gpu_memory_gib"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))

    @cached_property
    def bill(self) -> Bill:
        """What the run cost."""
        return bill(self.attempts, self.card)

    @property
    def last(self) -> Attempt:
        """The attempt that ended the run."""
        return max(self.attempts, key=lambda attempt: attempt.end)

    @property
    def resources(self) -> Resources:
        """What the run held in the end."""
        return self.last.resources

    @property
    def seconds(self) -> float:
        """Seconds of all attempts."""
        return float(self.bill.duration_seconds)

    @property
    def training_share(self) -> float | None:
        """Share of the time that was steps, or None where they were not timed."""
        if self.steps is None or self.step_seconds is None or not self.seconds:
            return None
        return min(self.steps * self.step_seconds / self.seconds, 1.0)

    @cached_property
    def utilisation(self) -> Utilisation:
        """Measured use of all attempts: means weighted by time, the peak of memory."""
        return Utilisation(
            busy_cores=self._mean("busy_cores"),
            memory_gib=max(
                (
                    a.utilisation.memory_gib
                    for a in self.attempts
                    if a.utilisation and a.utilisation.memory_gib is not None
                ),
                default=None,
            ),
            gpu_busy=self._mean("gpu_busy"),
        )

    def _mean(self, name: str) -> Decimal | None:
        pairs = [
            (Decimal(getattr(a.utilisation, name)), Decimal(a.duration / timedelta(microseconds=1)))
            for a in self.attempts
            if a.utilisation and getattr(a.utilisation, name) is not None
        ]
        weight = sum(weight for _, weight in pairs)
        return sum((v * w for v, w in pairs), Decimal(0)) / weight if weight else None

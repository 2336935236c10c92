"""A job to be planned, and what it costs at any start, on any number of workers, however bought."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import ceil, isfinite
from typing import Any

from accounting.bounds import at_least_one, not_negative, positive
from accounting.curve import PriceCurve
from accounting.preemption import Preemption
from accounting.quantities import instant, rounded_usd
from accounting.rates import RateCard
from accounting.scaling import ScalingModel
from accounting.usage import Purchase, Resources


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work to be planned."""

    steps: int
    """Steps to do."""
    step_seconds: float
    """Measured seconds of a step on one worker."""
    resources: Resources
    """What one worker asks for; `nodes` is 1."""
    scaling: ScalingModel | None = None
    """How a step shrinks with workers; needed for more than one."""
    startup_seconds: float = 0.0
    """Charged seconds before the first step: image, imports, data."""

    def __post_init__(self) -> None:
        """Refuses what cannot be planned."""
        at_least_one("steps", self.steps)
        positive("step_seconds", self.step_seconds)
        not_negative("startup_seconds", self.startup_seconds)
        if self.resources.nodes != 1:
            raise ValueError(
                f"resources.nodes is {self.resources.nodes}; describe one worker and list the "
                "numbers of workers to try in workers"
            )

    def seconds(self, workers: int) -> float:
        """Seconds of the whole job on `workers` workers without preemption.

        Raises:
            ValueError: more than one worker is asked for and `scaling` is missing.
        """
        if workers > 1 and self.scaling is None:
            raise ValueError(f"scaling is missing for {workers} workers; add a ScalingModel")
        step = self.step_seconds
        if self.scaling is not None:
            step /= self.scaling.speedup(workers)
        return self.startup_seconds + self.steps * step


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to do the job."""

    start: datetime
    """When it starts, in UTC."""
    end: datetime
    """When it is expected to end."""
    usd: Fraction
    """Expected cost, unrounded."""
    purchase: Purchase
    """How the capacity is bought."""
    workers: int
    """On how many workers."""
    lost_seconds: float
    """Seconds expected to be lost to preemption, within start and end."""

    @property
    def cost_usd(self) -> Decimal:
        """Expected cost in dollars, rounded to millionths."""
        return rounded_usd(self.usd)

    def to_record(self) -> dict[str, Any]:
        """Gives the option as a JSON object; money as text, exact to a millionth."""
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "cost_usd": str(self.cost_usd),
            "purchase": self.purchase,
            "workers": self.workers,
            "lost_seconds": round(self.lost_seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A job on a number of workers, bought in one way: all but its start is settled."""

    purchase: Purchase
    """How the capacity is bought."""
    workers: int
    """On how many workers."""
    length: timedelta
    """Expected time from start to end."""
    lost_seconds: float
    """Part of it expected to be lost to preemption."""
    curve: PriceCurve
    """What the capacity costs, up to the end of the latest start."""

    @cached_property
    def latest(self) -> datetime:
        """The last start that the curve can price."""
        return self.curve.end - self.length

    def at(self, start: datetime) -> Option:
        """Prices one start."""
        end = start + self.length
        return Option(
            start=start,
            end=end,
            usd=self.curve.usd(start, end),
            purchase=self.purchase,
            workers=self.workers,
            lost_seconds=self.lost_seconds,
        )

    def corners(self, first: datetime, last: datetime) -> list[datetime]:
        """Starts at which cost can bend between two instants, those two included."""
        last = min(last, self.latest)
        if first > last:
            return []
        changes = list(self.curve.changes())
        bends = {start for at in changes for start in (at, at - self.length)}
        return sorted({first, last, *(start for start in bends if first < start < last)})


def price_starts(variant: Variant, starts: Iterable[datetime]) -> list[Option]:
    """Prices many candidate starts (aware) of one variant."""
    return [variant.at(instant(start, field="start")) for start in starts]


def variants(
    job: Job,
    *,
    card: RateCard,
    now: datetime,
    last_start: datetime,
    workers: Sequence[int] = (1,),
    preemption: Preemption | None = None,
    priority: str = "normal",
) -> list[Variant]:
    """Lists the ways to do a job between `now` and `last_start`; spot only with `preemption`."""
    found = []
    for count in workers:
        at_least_one("workers", count)
        work = job.seconds(count)
        for purchase in ("on-demand", "spot") if preemption else ("on-demand",):
            seconds = work
            if purchase == "spot" and preemption:
                seconds = preemption.expected_seconds(work, workers=count)
            if not isfinite(seconds):
                continue
            length = timedelta(microseconds=ceil(seconds * 1_000_000))
            curve = PriceCurve.of(
                card,
                replace(job.resources, nodes=count),
                start=now,
                end=max(last_start, now) + length,
                spot=purchase == "spot",
                priority=priority,
            )
            found.append(
                Variant(
                    purchase=purchase,
                    workers=count,
                    length=length,
                    lost_seconds=seconds - work,
                    curve=curve,
                )
            )
    return found

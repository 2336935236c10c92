"""When to start a job, on how many workers and how bought, so that it costs least.

Prices are constant between two changes, so the cost of a job of fixed length is piecewise linear in
its start: it bends only where the start or the end meets a change of price. The cheapest start is
therefore one of those, the first or the last possible start, and looking at them alone is exact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from accounting.job import Job, Option, Variant, variants
from accounting.pareto import pareto_front
from accounting.preemption import Preemption
from accounting.quantities import instant, instant_or_none
from accounting.rates import RateCard

HORIZON = timedelta(days=7)
SATURDAY = 5


class PlanError(ValueError):
    """No start meets the deadline and the budget."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best options of a job."""

    choices: dict[str, Option]
    """Cheapest option of each window that has one: now, tonight, weekend, cheapest."""
    absent: dict[str, str]
    """Windows without an option, and why."""
    front: tuple[Option, ...]
    """Options that none beats in both end and cost, the earliest end first."""
    assumptions: tuple[str, ...]
    """What the numbers rest on, one sentence each."""

    @property
    def cheapest(self) -> Option:
        """The cheapest option of all."""
        return self.choices["cheapest"]

    def saving(self, name: str) -> float | None:
        """Fraction of the cost of starting now that a choice saves; None without a "now"."""
        now = self.choices.get("now")
        if now is None or not now.usd:
            return None
        return float(1 - self.choices[name].usd / now.usd)

    def to_record(self) -> dict[str, Any]:
        """Gives the plan as a JSON object."""
        return {
            "choices": {name: option.to_record() for name, option in self.choices.items()},
            "absent": self.absent,
            "front": [option.to_record() for option in self.front],
            "assumptions": list(self.assumptions),
        }


def plan(
    job: Job,
    *,
    card: RateCard,
    now: datetime,
    deadline: datetime | None = None,
    budget_usd: Decimal | None = None,
    workers: Sequence[int] = (1,),
    preemption: Preemption | None = None,
    priority: str = "normal",
    horizon: timedelta = HORIZON,
) -> Plan:
    """Finds the cheapest options of a job, exactly, and its front of end against cost.

    Args:
        job: The work.
        card: The rates.
        now: The first possible start, aware.
        deadline: When the expected end must have come, aware.
        budget_usd: What an option may cost.
        workers: Numbers of workers to try.
        preemption: What spot capacity does; without it only on-demand is planned.
        priority: The priority that is billed.
        horizon: How long after `now` a start may lie.

    Raises:
        PlanError: nothing meets the deadline and the budget; the message says what would.
    """
    now = instant(now, field="now")
    deadline = instant_or_none(deadline, field="deadline")
    ways = variants(
        job,
        card=card,
        now=now,
        last_start=now + horizon,
        workers=workers,
        preemption=preemption,
        priority=priority,
    )

    def affordable(first: datetime, last: datetime) -> list[Option]:
        options = []
        for way in ways:
            limit = last if deadline is None else min(last, deadline - way.length)
            options += [way.at(start) for start in way.corners(first, limit)]
        return [option for option in options if budget_usd is None or option.usd <= budget_usd]

    every = affordable(now, now + horizon)
    if not every:
        raise _refusal(ways, now=now, deadline=deadline, budget_usd=budget_usd, horizon=horizon)
    choices, absent = {}, {}
    for name, (first, last) in windows(now, card.zone).items():
        options = affordable(max(first, now), min(last, now + horizon))
        if options:
            choices[name] = _cheapest(options)
        else:
            absent[name] = "no start in it meets the deadline and the budget"
    return Plan(
        choices={**choices, "cheapest": _cheapest(every)},
        absent=absent,
        front=tuple(pareto_front(every, key=lambda option: (option.end, option.usd))),
        assumptions=_assumptions(job, preemption, workers),
    )


def windows(now: datetime, zone: ZoneInfo) -> dict[str, tuple[datetime, datetime]]:
    """First and last start of "now", "tonight" (18:00 to 06:00) and "weekend" by the wall clock.

    A night or weekend that is under way counts from `now` on.
    """
    local = now.astimezone(zone)
    today = local.date()
    evening = today - timedelta(days=1) if local.hour < 6 else today
    saturday = today + timedelta(days=SATURDAY - today.weekday())

    def wall(day: date, hour: int) -> datetime:
        return datetime.combine(day, time(hour), tzinfo=zone).astimezone(UTC)

    return {
        "now": (now, now),
        "tonight": (max(now, wall(evening, 18)), wall(evening + timedelta(days=1), 6)),
        "weekend": (max(now, wall(saturday, 0)), wall(saturday + timedelta(days=2), 0)),
    }


def _cheapest(options: Iterable[Option]) -> Option:
    """The cheapest option; on a tie the one that ends first, on fewer workers."""
    return min(options, key=lambda option: (option.usd, option.end, option.workers))


def _refusal(
    ways: Sequence[Variant],
    *,
    now: datetime,
    deadline: datetime | None,
    budget_usd: Decimal | None,
    horizon: timedelta,
) -> PlanError:
    first = min(now + way.length for way in ways)
    if deadline is not None and first > deadline:
        return PlanError(
            f"deadline is {deadline.isoformat()}, before the earliest expected end "
            f"{first.isoformat(timespec='seconds')}; move it there or later, or try more workers"
        )
    options = [
        way.at(start)
        for way in ways
        for start in way.corners(
            now, now + horizon if deadline is None else min(now + horizon, deadline - way.length)
        )
    ]
    return PlanError(
        f"budget_usd is {budget_usd}, below the cheapest option at {_cheapest(options).cost_usd} "
        "USD; raise it to that, or move the deadline"
    )


def _assumptions(
    job: Job, preemption: Preemption | None, workers: Sequence[int]
) -> tuple[str, ...]:
    found = [f"{job.steps} steps of {job.step_seconds:g} s each on one worker"]
    if job.scaling is not None and max(workers) > 1:
        found += [*job.scaling.assumptions(), job.scaling.verdict(max(workers))]
    if preemption is not None:
        found.append(
            f"a spot worker is preempted {preemption.per_hour:.3g} times an hour "
            f"({preemption.source}); spot times and costs are expected values over that"
        )
    return tuple(found)

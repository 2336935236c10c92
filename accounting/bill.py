"""The bill: every attempt integrated over bands, dates and clock changes, resource by resource.

Lost work and idle resources are parts of the lines they came from, shown beside the total and
never added to it. Each line is rounded once, to millionths of a dollar, and every other figure is
a sum of lines: so attempts add up to their run and runs to their report, to the last digit. The
unrounded `usd` of any partition of an interval adds up exactly.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

from accounting.quantities import MICROSECONDS_PER_SECOND, exact, hours, rounded_usd
from accounting.rates import RateCard, unit_usd
from accounting.usage import Attempt, Purchase, ResourceKind, Resources

Key = TypeVar("Key", bound=Hashable)
NOTHING = rounded_usd(Fraction(0))
RESOURCES: tuple[ResourceKind, ...] = ("cpu", "gpu", "memory", "storage")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one resource of one attempt cost within one band of one version of the rates."""

    attempt: Attempt
    """Who held it."""

    resource: ResourceKind
    """What was held."""

    band: str
    """Band of the tariff."""

    effective: str
    """Date from which the rates are in force, ISO-8601."""

    seconds: Fraction
    """Wall time within the band."""

    unit_hours: Fraction
    """Units (cores, GPUs, GiB) times hours that are charged."""

    usd: Fraction
    """What it cost."""

    lost_usd: Fraction
    """Part of `usd` for work that no later attempt could use."""

    idle_usd: Fraction
    """Part of `usd` for units that were held but not at work."""

    @cached_property
    def cost_usd(self) -> Decimal:
        """What it cost, rounded."""
        return rounded_usd(self.usd)

    @cached_property
    def lost_cost_usd(self) -> Decimal:
        """What of it was lost, rounded."""
        return rounded_usd(self.lost_usd)

    @cached_property
    def idle_cost_usd(self) -> Decimal:
        """What of it was idle, rounded."""
        return rounded_usd(self.idle_usd)

    def to_json(self) -> dict[str, str]:
        """Gives the line as a JSON object; money and time as text."""
        return {
            "attempt": self.attempt.label,
            "purchase": self.attempt.purchase,
            "resource": self.resource,
            "band": self.band,
            "effective": self.effective,
            "seconds": f"{float(self.seconds):.6f}",
            "unit_hours": f"{float(self.unit_hours):.6f}",
            "cost_usd": str(self.cost_usd),
            "lost_cost_usd": str(self.lost_cost_usd),
            "idle_cost_usd": str(self.idle_cost_usd),
        }


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What some attempts cost: `..._cost_usd` are sums of rounded lines, `usd` is exact."""

    lines: tuple[Line, ...]
    """One line per attempt, resource, band and version; order carries no meaning."""

    attempts: tuple[Attempt, ...]
    """What was billed."""

    card_digest: str
    """Identity of the rate card."""

    @cached_property
    def usd(self) -> Fraction:
        """The exact total."""
        return sum((line.usd for line in self.lines), Fraction(0))

    @property
    def total_cost_usd(self) -> Decimal:
        """The total in dollars."""
        return sum((line.cost_usd for line in self.lines), NOTHING)

    @property
    def cpu_cost_usd(self) -> Decimal:
        """What CPU cores cost; the four resources add up to the total."""
        return self.by_resource["cpu"]

    @property
    def gpu_cost_usd(self) -> Decimal:
        """What GPUs cost."""
        return self.by_resource["gpu"]

    @property
    def memory_cost_usd(self) -> Decimal:
        """What memory cost."""
        return self.by_resource["memory"]

    @property
    def storage_cost_usd(self) -> Decimal:
        """What disk cost."""
        return self.by_resource["storage"]

    @property
    def lost_cost_usd(self) -> Decimal:
        """How much of the total paid for lost work."""
        return sum((line.lost_cost_usd for line in self.lines), NOTHING)

    @property
    def idle_cost_usd(self) -> Decimal:
        """How much of the total paid for idle resources, where use was measured."""
        return sum((line.idle_cost_usd for line in self.lines), NOTHING)

    @property
    def duration_seconds(self) -> Decimal:
        """Wall time of all attempts together, to the microsecond."""
        total = sum((attempt.duration for attempt in self.attempts), timedelta())
        return Decimal(total // timedelta(microseconds=1)) / MICROSECONDS_PER_SECOND

    @cached_property
    def by_resource(self) -> dict[ResourceKind, Decimal]:
        """The total by resource, all four of them."""
        return self.by(lambda line: line.resource, keys=RESOURCES)

    @property
    def by_band(self) -> dict[str, Decimal]:
        """The total by band."""
        return self.by(lambda line: line.band)

    @property
    def by_purchase(self) -> dict[Purchase, Decimal]:
        """The total by how it was really bought."""
        return self.by(lambda line: line.attempt.purchase)

    @property
    def by_task(self) -> dict[str, Decimal]:
        """The total by task."""
        return self.by(lambda line: line.attempt.task)

    @property
    def by_attempt(self) -> dict[str, Decimal]:
        """The total by attempt, in the order they were given."""
        return self.by(
            lambda line: line.attempt.label, keys=[attempt.label for attempt in self.attempts]
        )

    def by(self, key: Callable[[Line], Key], *, keys: Iterable[Key] = ()) -> dict[Key, Decimal]:
        """Splits the total by a property of its lines; `keys` are there even at no cost."""
        parts: dict[Key, Decimal] = dict.fromkeys(keys, NOTHING)
        for line in self.lines:
            parts[key(line)] = parts.get(key(line), NOTHING) + line.cost_usd
        return parts

    @property
    def surprises(self) -> tuple[Attempt, ...]:
        """Lists attempts that were bought in another way than asked."""
        return tuple(a for a in self.attempts if a.asked is not None and a.asked != a.purchase)

    def metrics(self) -> dict[str, float]:
        """Gives the figures a tracking server keeps, by name."""
        return {name: float(value) for name, value in self._figures().items()}

    def to_json(self) -> dict[str, Any]:
        """Gives the whole breakdown as a JSON object with exact amounts as text."""
        return {
            "currency": "USD",
            "rate_card": self.card_digest,
            **{name: str(value) for name, value in self._figures().items()},
            "by_resource": _texts(self.by_resource),
            "by_band": _texts(self.by_band),
            "by_purchase": _texts(self.by_purchase),
            "by_task": _texts(self.by_task),
            "by_attempt": _texts(self.by_attempt),
            "surprises": [
                {"attempt": a.label, "asked": a.asked, "was": a.purchase} for a in self.surprises
            ],
            "lines": [line.to_json() for line in self.lines],
            "attempts": [attempt.to_record() for attempt in self.attempts],
        }

    def _figures(self) -> dict[str, Decimal]:
        return {
            "duration_seconds": self.duration_seconds,
            "cpu_cost_usd": self.cpu_cost_usd,
            "gpu_cost_usd": self.gpu_cost_usd,
            "memory_cost_usd": self.memory_cost_usd,
            "storage_cost_usd": self.storage_cost_usd,
            "total_cost_usd": self.total_cost_usd,
            "lost_cost_usd": self.lost_cost_usd,
            "idle_cost_usd": self.idle_cost_usd,
        }


def bill(attempts: Iterable[Attempt], card: RateCard) -> Bill:
    """Bills attempts by the rates in force at each moment of them.

    Raises:
        ValueError: An attempt is given twice, uses an accelerator or a priority that the card does
            not know, or lies before the card's first version.
    """
    known = tuple(attempts)
    for label, count in Counter(attempt.label for attempt in known).items():
        if count > 1:
            raise ValueError(f"attempt {label} is given {count} times; bill each attempt once")
    lines = tuple(line for attempt in known for line in attempt_lines(attempt, card))
    return Bill(lines=lines, attempts=known, card_digest=card.digest)


def estimate(
    resources: Resources,
    card: RateCard,
    *,
    start: datetime,
    seconds: Decimal | float,
    spot: bool = False,
    priority: str = "normal",
    task: str = "estimate",
) -> Bill:
    """Bills one attempt that has not happened: `seconds` of `resources` from `start` on.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    >>> cost = estimate(Resources(cores=4, gpus=1), RateCard.load(), start=noon, seconds=213.4)
    >>> print(cost.cpu_cost_usd, cost.gpu_cost_usd, cost.total_cost_usd)
    0.011856 0.014819 0.026675
    """
    length = exact(seconds, field="seconds")
    span = timedelta(microseconds=round(length * MICROSECONDS_PER_SECOND))
    attempt = Attempt(
        task=task,
        number=0,
        start=start,
        end=start + span,
        resources=resources,
        spot=spot,
        priority=priority,
    )
    return bill([attempt], card)


def attempt_lines(attempt: Attempt, card: RateCard) -> list[Line]:
    """Bills one attempt: one line per resource, band and version of the rates."""
    lost_since = attempt.lost_since
    demands = attempt.resources.demands(attempt.utilisation)
    sums: dict[tuple[ResourceKind, str, str], list[Fraction]] = defaultdict(
        lambda: [Fraction(0)] * 5
    )
    for span in card.spans(attempt.start, attempt.end):
        length = hours(span.start, span.end)
        lost = Fraction(0)
        if lost_since is not None and lost_since < span.end:
            lost = hours(max(span.start, lost_since), span.end)
        for demand in demands:
            busy, idle = unit_usd(
                span,
                demand.resource,
                gpu_type=attempt.resources.gpu_type,
                spot=attempt.spot,
                priority=attempt.priority,
            )
            hourly = demand.busy * busy + demand.idle * idle
            parts = (
                length * 3600,
                length * (demand.busy + demand.idle),
                length * hourly,
                lost * hourly,
                length * demand.idle * idle,
            )
            key = (demand.resource, span.band.name, span.rates.effective.isoformat())
            sums[key] = [total + part for total, part in zip(sums[key], parts, strict=True)]
    return [
        Line(
            attempt=attempt,
            resource=resource,
            band=band,
            effective=effective,
            seconds=seconds,
            unit_hours=unit_hours,
            usd=usd,
            lost_usd=lost_usd,
            idle_usd=idle_usd,
        )
        for (resource, band, effective), (
            seconds,
            unit_hours,
            usd,
            lost_usd,
            idle_usd,
        ) in sums.items()
    ]


def _texts(amounts: Mapping[Any, Decimal]) -> dict[str, str]:
    return {str(key): str(amount) for key, amount in amounts.items()}

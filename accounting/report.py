"""Cost reports over any range: totals, trends and groups that add up to the runs exactly."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from accounting.quantities import instant
from accounting.run_record import NO_MONEY, RunRecord

Period = Literal["month", "quarter"]
SPLIT = ("band", "purchase")
"""Dimensions over which one run's money may be spread."""
DIMENSIONS = ("experiment", "agent", "model", "priority", "band", "purchase")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some runs, or some runs' share of something, added up."""

    name: str
    """What they have in common."""
    runs: int
    """How many runs."""
    usd: Decimal
    """What they cost."""
    lost_usd: Decimal | None
    """Part for lost work; None where runs are split and it cannot be told."""
    idle_usd: Decimal | None
    """Part for idle resources; None as above."""
    seconds: Decimal | None
    """Wall time; None as above."""

    @property
    def average_usd(self) -> Decimal | None:
        """Cost per run, or None without runs."""
        return self.usd / self.runs if self.runs else None

    @property
    def lost_share(self) -> float | None:
        """Lost part of the cost, 0 to 1."""
        return _share(self.lost_usd, self.usd)

    @property
    def idle_share(self) -> float | None:
        """Idle part of the cost, 0 to 1."""
        return _share(self.idle_usd, self.usd)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What runs cost over a range."""

    start: datetime
    """First instant of the range, in the report's time zone."""
    end: datetime
    """First instant after it."""
    period: Period
    """Length of the steps of the trend."""
    total: Row
    """All runs of the range."""
    periods: tuple[Row, ...]
    """The trend: one row per month or quarter, empty ones included, in order."""
    groups: dict[str, tuple[Row, ...]]
    """Rows by dimension, the most expensive first; each dimension adds up to the total."""
    dearest: tuple[RunRecord, ...]
    """The most expensive runs."""

    def change(self, position: int) -> float | None:
        """Growth of a period over the one before it; None where that cost nothing."""
        if position == 0 or not self.periods[position - 1].usd:
            return None
        return float(self.periods[position].usd / self.periods[position - 1].usd) - 1


def report(
    runs: Iterable[RunRecord],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    period: Period = "month",
    by: Sequence[str] = DIMENSIONS,
    zone: ZoneInfo | None = None,
    num_dearest: int = 10,
) -> Report:
    """Adds up the runs that began from `start` to before `end`.

    Args:
        runs: The runs, in any order.
        start: First instant, aware; the first run's period where missing.
        end: First instant after the range, aware; the end of the last run's period where missing.
        period: Length of the steps of the trend.
        by: Dimensions to group by; also "tag:NAME" and "param:NAME".
        zone: Time zone in which periods begin; UTC where missing.
        num_dearest: How many of the most expensive runs to list.

    Raises:
        ValueError: a run is given twice, there is no run and no range, or a dimension is unknown.
    """
    zone = zone or ZoneInfo("UTC")
    known = list(runs)
    twice = [run_id for run_id, count in Counter(r.run_id for r in known).items() if count > 1]
    if twice:
        raise ValueError(f"run {twice[0]} is given twice; give each run once")
    if not known and (start is None or end is None):
        raise ValueError("runs is empty; give start and end for a report without runs")
    if start is None:
        start = _begin(min(run.start for run in known), period, zone)
    if end is None:
        end = _next(_begin(max(run.start for run in known), period, zone), period, zone)
    first, last = instant(start, field="start"), instant(end, field="end")
    if last <= first:
        raise ValueError(f"end is {last.isoformat()}, not after start {first.isoformat()}")
    inside = [run for run in known if first <= run.start < last]
    return Report(
        start=first.astimezone(zone),
        end=last.astimezone(zone),
        period=period,
        total=_row("total", inside),
        periods=_periods(inside, first, last, period, zone),
        groups={dimension: _groups(inside, dimension) for dimension in by},
        dearest=tuple(sorted(inside, key=lambda run: (-run.usd, run.run_id))[:num_dearest]),
    )


def month(year: int, number: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First instant of a month on the wall clock, and the first one after it.

    >>> [at.isoformat() for at in month(2026, 12, ZoneInfo("Europe/Berlin"))]
    ['2026-11-30T23:00:00+00:00', '2026-12-31T23:00:00+00:00']
    """
    if not 1 <= number <= 12:
        raise ValueError(f"month is {number}; give 1 to 12")
    start = datetime(year, number, 1, tzinfo=zone).astimezone(UTC)
    return start, _next(start, "month", zone)


def quarter(year: int, number: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First instant of a quarter on the wall clock, and the first one after it.

    >>> [at.isoformat() for at in quarter(2026, 2, ZoneInfo("UTC"))]
    ['2026-04-01T00:00:00+00:00', '2026-07-01T00:00:00+00:00']
    """
    if not 1 <= number <= 4:
        raise ValueError(f"quarter is {number}; give 1 to 4")
    start = datetime(year, 3 * number - 2, 1, tzinfo=zone).astimezone(UTC)
    return start, _next(start, "quarter", zone)


def _begin(moment: datetime, period: Period, zone: ZoneInfo) -> datetime:
    """The first instant of the period that holds `moment`, in UTC."""
    local = moment.astimezone(zone)
    number = local.month if period == "month" else local.month - (local.month - 1) % 3
    return datetime.combine(local.date().replace(month=number, day=1), time(), zone).astimezone(UTC)


def _next(begin: datetime, period: Period, zone: ZoneInfo) -> datetime:
    """The first instant of the period after the one that begins at `begin`, in UTC."""
    far = begin + timedelta(days=45 if period == "month" else 105)
    return _begin(far, period, zone)


def _name(begin: datetime, period: Period, zone: ZoneInfo) -> str:
    local = begin.astimezone(zone)
    return f"{local:%Y-%m}" if period == "month" else f"{local.year}-Q{(local.month + 2) // 3}"


def _periods(
    runs: Sequence[RunRecord], first: datetime, last: datetime, period: Period, zone: ZoneInfo
) -> tuple[Row, ...]:
    names = list(_period_names(first, last, period, zone))
    members: dict[str, list[RunRecord]] = {name: [] for name in names}
    for run in runs:
        members[_name(run.start, period, zone)].append(run)
    return tuple(_row(name, members[name]) for name in names)


def _period_names(first: datetime, last: datetime, period: Period, zone: ZoneInfo) -> Iterator[str]:
    begin = _begin(first, period, zone)
    while begin < last:
        yield _name(begin, period, zone)
        begin = _next(begin, period, zone)


def _groups(runs: Sequence[RunRecord], dimension: str) -> tuple[Row, ...]:
    rows = _split_rows(runs, dimension) if dimension in SPLIT else _member_rows(runs, dimension)
    return tuple(sorted(rows, key=lambda row: (-row.usd, row.name)))


def _member_rows(runs: Sequence[RunRecord], dimension: str) -> list[Row]:
    members: dict[str, list[RunRecord]] = {}
    for run in runs:
        members.setdefault(run.value(dimension), []).append(run)
    return [_row(name, group) for name, group in members.items()]


def _split_rows(runs: Sequence[RunRecord], dimension: str) -> list[Row]:
    """Rows of a dimension that splits runs; a run counts in each row that it has money in."""
    usd: dict[str, Decimal] = {}
    counts: dict[str, int] = {}
    for run in runs:
        for name, part in run.parts(dimension).items():
            usd[name] = usd.get(name, NO_MONEY) + part
            counts[name] = counts.get(name, 0) + 1
    return [
        Row(name=n, runs=counts[n], usd=usd[n], lost_usd=None, idle_usd=None, seconds=None)
        for n in usd
    ]


def _row(name: str, runs: Sequence[RunRecord]) -> Row:
    return Row(
        name=name,
        runs=len(runs),
        usd=sum((run.usd for run in runs), NO_MONEY),
        lost_usd=sum((run.lost_usd for run in runs), NO_MONEY),
        idle_usd=sum((run.idle_usd for run in runs), NO_MONEY),
        seconds=sum((run.seconds for run in runs), NO_MONEY),
    )


def _share(part: Decimal | None, whole: Decimal) -> float | None:
    if part is None:
        return None
    return float(part / whole) if whole else 0.0

"""Bands of a tariff: which multiplier applies at which instant of a time zone.

A band holds windows of local wall time. What counts is what the clock on the wall shows, so a night
from 22:00 to 06:00 lasts seven or nine hours when the clocks change. Bands tile all time: neither
gaps nor overlaps between two bands are accepted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from zoneinfo import ZoneInfo

DAY_MINUTES = 1440
WEEK_MINUTES = 7 * DAY_MINUTES
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
LEAP_YEAR_START = date(2024, 1, 1)


class TariffError(ValueError):
    """Bands that overlap or leave a gap."""


@dataclass(frozen=True, kw_only=True)
class Season:
    """Days of the year from `first` to `last`, both included; it may run over the new year."""

    first: tuple[int, int]
    """Month and day."""

    last: tuple[int, int]
    """Month and day."""

    def holds(self, day: date) -> bool:
        """Says whether a local date lies in the season; season borders are local midnights."""
        point = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= point <= self.last
        return point >= self.first or point <= self.last


@dataclass(frozen=True, kw_only=True)
class Window:
    """Stretches of every local week, possibly in a season only."""

    minutes: tuple[tuple[int, int], ...]
    """From and to in minutes since Monday 00:00 on the wall, within one week."""

    season: Season | None = None
    """Days of the year on which the window counts, or None for all."""

    @classmethod
    def daily(
        cls, *, days: Iterable[int], start: int, end: int, season: Season | None = None
    ) -> "Window":
        """Repeats a stretch on weekdays (Monday is 0); one that ends before it starts is overnight.

        An overnight stretch belongs to the day on which it starts.

        >>> Window.daily(days=[6], start=1320, end=360).minutes  # Sunday night
        ((9960, 10080), (0, 360))
        """
        length = (end - start) % DAY_MINUTES or DAY_MINUTES
        stretches = [_wrap(day * DAY_MINUTES + start, length) for day in days]
        return cls(minutes=tuple(part for parts in stretches for part in parts), season=season)

    @classmethod
    def weekly(cls, *, start: int, end: int, season: Season | None = None) -> "Window":
        """Holds one stretch of the week; it may run over Sunday midnight."""
        length = (end - start) % WEEK_MINUTES or WEEK_MINUTES
        return cls(minutes=_wrap(start, length), season=season)

    def holds_date(self, day: date) -> bool:
        """Says whether the window counts on a local date."""
        return self.season is None or self.season.holds(day)


def _wrap(start: int, length: int) -> tuple[tuple[int, int], ...]:
    """Cuts a stretch at the end of the week."""
    end = start + length
    if end <= WEEK_MINUTES:
        return ((start, end),)
    return ((start, WEEK_MINUTES), (0, end - WEEK_MINUTES))


@dataclass(frozen=True, kw_only=True)
class Band:
    """A named part of all time with one multiplier."""

    name: str
    """What bills and reports call it."""

    multiplier: Fraction
    """Factor on every price that follows the tariff."""

    windows: tuple[Window, ...] | None
    """When it applies, or None for all time that no other band holds."""


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """Bands that tile all time in one time zone."""

    zone: ZoneInfo
    """Time zone of the clock on the wall."""

    bands: tuple[Band, ...]
    """The bands; at most one takes the rest."""

    def __post_init__(self) -> None:
        """Refuses gaps and overlaps by walking over every kind of day there is."""
        if not self.bands:
            raise TariffError("bands is empty; give at least one band, with `when: otherwise`")
        names = [band.name for band in self.bands]
        for name in names:
            if names.count(name) > 1:
                raise TariffError(f"bands names {name!r} twice; give each band its own name")
        if sum(band.windows is None for band in self.bands) > 1:
            raise TariffError("bands has two with `when: otherwise`; only one can take the rest")
        for offset in range(366):
            day = LEAP_YEAR_START + offset * DAY
            for weekday in range(7):
                self._day(self._active(day), weekday)

    def band_at(self, moment: datetime) -> Band:
        """Finds the band of an instant by the clock on the wall."""
        local = moment.astimezone(self.zone)
        cuts = self._day(self._active(local.date()), local.weekday())
        minute = local.hour * 60 + local.minute
        return next(band for start, band in reversed(cuts) if start <= minute)

    def segments(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, Band]]:
        """Cuts `start` to `end` (aware) at every change of band; the pieces are in UTC."""
        open_start, open_band = start.astimezone(UTC), None
        for at, band in self._changes(start.astimezone(UTC), end.astimezone(UTC)):
            if open_band is not None and band is not open_band:
                yield open_start, at, open_band
                open_start = at
            open_band = band
        if open_band is not None:
            yield open_start, end.astimezone(UTC), open_band

    def _changes(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Band]]:
        """Lists where a band begins or goes on, in order, from `start` on."""
        for piece_start, piece_end, offset in constant_offsets(self.zone, start, end):
            local_start = (piece_start + offset).replace(tzinfo=None)
            local_end = (piece_end + offset).replace(tzinfo=None)
            midnight = datetime.combine(local_start.date(), datetime.min.time())
            while midnight < local_end:
                cuts = self._day(self._active(midnight.date()), midnight.weekday())
                ends = [minute for minute, _ in cuts[1:]] + [DAY_MINUTES]
                for (minute, band), until in zip(cuts, ends, strict=True):
                    at = max(midnight + timedelta(minutes=minute), local_start)
                    if at < min(midnight + timedelta(minutes=until), local_end):
                        yield (at - offset).replace(tzinfo=UTC), band
                midnight += DAY

    @cached_property
    def _seasons(self) -> tuple[Season, ...]:
        found = {
            window.season
            for band in self.bands
            for window in band.windows or ()
            if window.season is not None
        }
        return tuple(found)

    @cached_property
    def _days(self) -> dict[tuple[frozenset[Season], int], tuple[tuple[int, Band], ...]]:
        return {}

    def _active(self, day: date) -> frozenset[Season]:
        return frozenset(season for season in self._seasons if season.holds(day))

    def _day(self, seasons: frozenset[Season], weekday: int) -> tuple[tuple[int, Band], ...]:
        """Gives the first minute of each band of one kind of day, from minute 0 on."""
        key = (seasons, weekday)
        if key not in self._days:
            self._days[key] = _cut_day(self.bands, seasons, weekday)
        return self._days[key]


def _cut_day(
    bands: tuple[Band, ...], seasons: frozenset[Season], weekday: int
) -> tuple[tuple[int, Band], ...]:
    """Cuts one kind of day at each change of band.

    Raises:
        TariffError: Two bands hold the same minute, or none holds it.
    """
    base = weekday * DAY_MINUTES
    held = [
        (max(start - base, 0), min(end - base, DAY_MINUTES), band)
        for band in bands
        for window in band.windows or ()
        if window.season is None or window.season in seasons
        for start, end in window.minutes
        if start < base + DAY_MINUTES and end > base
    ]
    rest = next((band for band in bands if band.windows is None), None)
    edges = sorted({0, *(start for start, _, _ in held), *(end for _, end, _ in held)})
    cuts: list[tuple[int, Band]] = []
    for edge in edges:
        if edge == DAY_MINUTES:
            continue
        here = {band.name: band for start, end, band in held if start <= edge < end}
        if len(here) > 1:
            first, second = list(here)[:2]
            raise TariffError(
                f"bands {first!r} and {second!r} overlap at {_when(weekday, edge, seasons)}; "
                "let only one of them hold that time"
            )
        band = next(iter(here.values()), rest)
        if band is None:
            raise TariffError(
                f"no band holds {_when(weekday, edge, seasons)}; widen one, or add a band with "
                "`when: otherwise`"
            )
        if not cuts or cuts[-1][1] is not band:
            cuts.append((edge, band))
    return tuple(cuts)


def _when(weekday: int, minute: int, seasons: frozenset[Season]) -> str:
    inside = "".join(
        f" in the season {season.first[0]:02}-{season.first[1]:02}"
        f"..{season.last[0]:02}-{season.last[1]:02}"
        for season in sorted(seasons, key=lambda season: season.first)
    )
    return f"{WEEKDAYS[weekday]} {minute // 60:02}:{minute % 60:02}{inside}"


def constant_offsets(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Cuts `start` to `end` (UTC) where the zone's offset from UTC changes.

    The offset is probed once a day and a change is then found by halving, down to the second; no
    zone changes its offset twice in a day.
    """
    at = start
    while at < end:
        offset = _offset(zone, at)
        until = at
        while until < end and _offset(zone, min(until + DAY, end)) == offset:
            until = min(until + DAY, end)
        if until < end:
            until = _transition(zone, until, min(until + DAY, end))
        yield at, min(until, end), offset
        at = until


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - zoneinfo always knows its offset
    return offset


def _transition(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Finds the whole second at which the offset changes between two instants."""
    low, high = int(before.timestamp()), int(after.timestamp()) + 1
    offset = _offset(zone, datetime.fromtimestamp(low, UTC))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)

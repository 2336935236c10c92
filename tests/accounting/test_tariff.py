"""Bands: which multiplier applies when, across weeks, seasons and clock changes."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.rates import RateCard
from accounting.tariff import constant_offsets

CARD = """
currency: USD
timezone: {zone}
versions:
  - effective: 2000-01-01
    prices:
      core_hour: {{price: 1, source: list, date: 2026-01-01}}
    bands:
{bands}
"""

ReadCard = Callable[[str], RateCard]


def card_with(read_card: ReadCard, *bands: str, zone: str = "UTC") -> RateCard:
    """Reads a card with the given lines of bands."""
    lines = "\n".join(f"      - {band}" for band in bands)
    return read_card(CARD.format(zone=zone, bands=lines))


def cheap(read_card: ReadCard, when: str, zone: str = "UTC") -> RateCard:
    """Reads a card with one cheap band."""
    return card_with(
        read_card,
        f"{{name: cheap, multiplier: 0.5, when: {when}}}",
        "{name: rest, multiplier: 1, when: otherwise}",
        zone=zone,
    )


moments = st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1)).map(  # noqa: DTZ001 - zone follows
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(start=moments, length=st.timedeltas(timedelta(minutes=1), timedelta(days=30)))
@settings(max_examples=50, deadline=None)
def test_spans_tile_the_interval_and_agree_with_the_wall_clock(
    berlin_card: RateCard, start: datetime, length: timedelta
) -> None:
    """Spans meet end to start, never repeat a band and version, and hold their band throughout."""
    spans = list(berlin_card.spans(start, start + length))
    assert spans[0].start == start
    assert spans[-1].end == start + length
    for left, right in itertools.pairwise(spans):
        assert left.end == right.start
        assert (left.band, left.rates) != (right.band, right.rates)
    for span in spans:
        assert span.start < span.end
        for share in (0, 0.3, 0.999):
            at = span.start + share * (span.end - span.start)
            assert berlin_card.band_at(at).name == span.band.name


@pytest.mark.parametrize(
    "zone",
    ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"],
)
def test_nights_follow_the_wall_clock_of_any_zone(read_card: ReadCard, zone: str) -> None:
    """Over a year every night begins at 22:00 and ends at 06:00 on the wall, whatever the hours."""
    card = cheap(read_card, "{hours: 22:00-06:00}", zone)
    local = ZoneInfo(zone)
    start = datetime(2025, 1, 1, 12, tzinfo=UTC)
    spans = list(card.spans(start, start + timedelta(days=365)))
    nights = [span for span in spans if span.band.name == "cheap"]
    assert len(nights) in {365, 366}
    for night in nights[1:-1]:
        assert f"{night.start.astimezone(local):%H:%M}" == "22:00"
        assert f"{night.end.astimezone(local):%H:%M}" == "06:00"


@pytest.mark.parametrize(
    ("day", "clock", "lengths"),
    [
        ((2026, 3, 29), "01:30-02:30", [0.5]),  # 02:00 to 03:00 does not exist
        ((2026, 3, 29), "02:00-03:00", []),
        ((2026, 10, 25), "02:00-03:00", [2.0]),  # it happens twice
        ((2026, 10, 25), "02:30-03:30", [0.5, 1.0]),  # left when the clock goes back to 02:00
        ((2026, 6, 1), "02:30-03:30", [1.0]),
    ],
)
def test_bands_inside_a_clock_change_count_what_the_wall_shows(
    read_card: ReadCard, day: tuple[int, int, int], clock: str, lengths: list[float]
) -> None:
    """Hours that the clock skips are not charged, hours that it repeats are charged twice."""
    card = cheap(read_card, f"{{hours: {clock}}}", "Europe/Berlin")
    start = datetime(*day, tzinfo=ZoneInfo("Europe/Berlin"))
    spans = card.spans(start, start + timedelta(days=1))
    hours = [(s.end - s.start) / timedelta(hours=1) for s in spans if s.band.name == "cheap"]
    assert hours == lengths


@pytest.mark.parametrize(
    ("when", "inside", "outside"),
    [
        ("{span: fri 18:00 - mon 06:00}", "2026-03-09T05:59", "2026-03-09T06:00"),
        ("{days: sun, hours: 22:00-06:00}", "2026-03-09T05:59", "2026-03-10T05:59"),
        ("{days: fri-mon}", "2026-03-09T23:59", "2026-03-10T00:00"),
        ("{days: [sat, sun]}", "2026-03-07T00:00", "2026-03-06T23:59"),
        ("{hours: 00:00-24:00, days: wed}", "2026-03-04T12:00", "2026-03-05T00:00"),
        ("{season: 11-01..02-29}", "2028-02-29T23:59", "2028-03-01T00:00"),
        ("{season: 11-01..02-28}", "2028-02-28T23:59", "2028-02-29T00:00"),
        ("{season: 02-29..02-29}", "2028-02-29T12:00", "2027-03-01T12:00"),
        ("{season: 11-01..02-29, hours: 22:00-06:00}", "2027-02-28T23:00", "2027-03-01T01:00"),
        ("[{days: mon}, {hours: 22:00-23:00}]", "2026-03-10T22:30", "2026-03-10T23:00"),
    ],
)
def test_windows_hold_what_they_say(
    read_card: ReadCard, when: str, inside: str, outside: str
) -> None:
    """Overnight and week-crossing windows, seasons over new year, leap days, several windows."""
    card = cheap(read_card, when)
    assert card.band_at(datetime.fromisoformat(f"{inside}+00:00")).name == "cheap"
    assert card.band_at(datetime.fromisoformat(f"{outside}+00:00")).name == "rest"


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (
            [
                "{name: a, multiplier: 1, when: {hours: 20:00-06:00}}",
                "{name: b, multiplier: 1, when: {hours: 05:00-20:00}}",
            ],
            "'a' and 'b' overlap at mon 05:00",
        ),
        (
            [
                "{name: a, multiplier: 1, when: {season: 01-01..06-30}}",
                "{name: b, multiplier: 1, when: {season: 06-30..12-31}}",
            ],
            "overlap at .* in the season 01-01..06-30 in the season 06-30..12-31",
        ),
        (
            ["{name: a, multiplier: 1, when: {hours: 06:00-22:00}}"],
            "no band holds mon 00:00; widen one, or add a band with `when: otherwise`",
        ),
        (
            [
                "{name: a, multiplier: 1, when: {season: 03-01..12-31}}",
                "{name: b, multiplier: 1, when: {season: 01-01..02-28}}",
            ],
            "no band holds mon 00:00",  # on leap days
        ),
        (
            [
                "{name: a, multiplier: 1, when: {days: mon-fri}}",
                "{name: b, multiplier: 1, when: {days: sat}}",
            ],
            "no band holds sun 00:00",
        ),
        (
            [
                "{name: a, multiplier: 1, when: otherwise}",
                "{name: b, multiplier: 1, when: otherwise}",
            ],
            "two with `when: otherwise`",
        ),
        (
            [
                "{name: a, multiplier: 1, when: {days: mon}}",
                "{name: a, multiplier: 1, when: otherwise}",
            ],
            "names 'a' twice",
        ),
    ],
)
def test_overlaps_and_gaps_are_refused(read_card: ReadCard, bands: list[str], message: str) -> None:
    """Bands must tile all time of every year; the complaint names line and moment."""
    with pytest.raises(ValueError, match=f"^rates.yaml:9: versions\\[0\\].bands: .*{message}"):
        card_with(read_card, *bands)


def test_a_season_that_covers_leap_days_only_there_is_complete(read_card: ReadCard) -> None:
    """Two seasons that meet at the end of February tile all years."""
    card = card_with(
        read_card,
        "{name: summer, multiplier: 1, when: {season: 03-01..10-31}}",
        "{name: winter, multiplier: 2, when: {season: 11-01..02-29}}",
    )
    leap = datetime(2028, 2, 29, 12, tzinfo=UTC)
    assert card.band_at(leap).name == "winter"


def test_offsets_are_found_to_the_second() -> None:
    """A zone that changed its date line and clocks is cut where its offset changed."""
    zone = ZoneInfo("Pacific/Apia")
    start, end = datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 5, 1, tzinfo=UTC)
    pieces = list(constant_offsets(zone, start, end))
    assert [piece[0] for piece in pieces] == [
        start,
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2012, 3, 31, 14, tzinfo=UTC),
    ]
    assert [piece[2] / timedelta(hours=1) for piece in pieces] == [-10, 14, 13]

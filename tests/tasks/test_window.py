"""The check of a scheduled start."""

from datetime import UTC, datetime, timedelta

import pytest

from accounting.rates import RateCard
from tasks.window import judge_window, skip_run

NIGHT = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)  # a Wednesday, off-peak x0.5
NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)  # peak x1


def judge(
    kickoff: datetime, now: datetime, *, delay_minutes: int = 60, multiplier: float = 0.5
) -> tuple[bool, str]:
    """Judges by the embedded card."""
    return judge_window(kickoff, now, RateCard.load(), timedelta(minutes=delay_minutes), multiplier)


def test_a_fresh_kickoff_in_a_cheap_band_is_open() -> None:
    """It starts, and the reason names the band and what it costs."""
    assert judge(NIGHT, NIGHT + timedelta(minutes=1)) == (True, "band 'off-peak' (x0.5)")


@pytest.mark.parametrize(
    ("minutes", "is_open"), [(59, True), (60, True), (61, False), (1500, False)]
)
def test_a_kickoff_may_be_late_by_so_much(minutes: int, is_open: bool) -> None:
    """Up to the allowed delay it starts; a minute later it is stale, in whatever band it is."""
    verdict, reason = judge(NIGHT, NIGHT + timedelta(minutes=minutes))
    assert verdict is is_open
    assert reason.startswith("stale: fired 2026-11-18 01:00 UTC") is not is_open


def test_an_expensive_band_is_closed_and_named() -> None:
    """At noon the band costs twice what it may."""
    assert judge(NOON, NOON) == (False, "outside the window: the band is 'peak' (x1)")


def test_any_band_will_do_where_the_limit_says_so() -> None:
    """A limit of 1 admits the peak band."""
    assert judge(NOON, NOON, multiplier=1.0)[0]


def test_the_end_of_the_band_is_outside_it() -> None:
    """06:00 is the first minute of the peak band."""
    six = NIGHT.replace(hour=6)
    assert judge(six - timedelta(minutes=1), six - timedelta(minutes=1))[0]
    assert not judge(six, six)[0]


def test_a_kickoff_without_zone_is_utc() -> None:
    """Flyte passes its kickoff without a zone; it means UTC."""
    assert judge(NIGHT.replace(tzinfo=None), NIGHT) == judge(NIGHT, NIGHT)


def test_a_skipped_run_costs_nothing() -> None:
    """Its summary says why and names no model."""
    summary = skip_run(reason="stale: fired long ago").summary
    assert summary.status == "skipped: stale: fired long ago"
    assert (summary.model, summary.total_cost_usd) == ("", "0")

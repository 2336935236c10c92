"""The check of a scheduled start: fresh, and in a cheap band; anything else is skipped."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from flytekit import task

from accounting.rates import RateCard
from stores.settings import Settings
from tasks.machines import LIGHT
from tasks.records import Outcome, Summary


class Window(NamedTuple):
    """Whether a scheduled run may start."""

    is_open: bool
    reason: str


@task(**LIGHT.options())
def check_window(kickoff_time: datetime, max_delay_minutes: int, max_multiplier: float) -> Window:
    """Compares the kickoff time and the tariff with now.

    After downtime Flyte's scheduler fires every missed slot at once (flyte#4285): a stale kickoff
    must not train, and one that comes late must not train in an expensive band.
    """
    settings = Settings.from_environment()
    card = RateCard.load(settings.rates_path)
    is_open, reason = judge_window(
        kickoff_time, datetime.now(UTC), card, timedelta(minutes=max_delay_minutes), max_multiplier
    )
    return Window(is_open=is_open, reason=reason)


def judge_window(
    kickoff: datetime, now: datetime, card: RateCard, max_delay: timedelta, max_multiplier: float
) -> tuple[bool, str]:
    """Decides whether a run that was to start at `kickoff` may start now, and says why.

    Args:
        kickoff: When the schedule fired, UTC where it has no zone.
        now: The present instant, aware.
        card: The rates, with their bands.
        max_delay: How late a start may be.
        max_multiplier: The dearest band that will do.
    """
    kickoff = kickoff.replace(tzinfo=UTC) if kickoff.tzinfo is None else kickoff
    delay = now - kickoff
    if delay > max_delay:
        return False, f"stale: fired {kickoff:%Y-%m-%d %H:%M} UTC, {delay} ago"
    band = card.band_at(now)
    if float(band.multiplier) > max_multiplier:
        return False, f"outside the window: the band is {band.name!r} (x{float(band.multiplier):g})"
    return True, f"band {band.name!r} (x{float(band.multiplier):g})"


@task(**LIGHT.options())
def skip_run(reason: str) -> Outcome:
    """Ends a scheduled run that must not start."""
    return Outcome(summary=Summary(status=f"skipped: {reason}"))

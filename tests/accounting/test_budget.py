"""Budgets: the gate before a run and the guard inside it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.bill import bill
from accounting.budget import BudgetExceeded, BudgetGuard, DeadlineExceeded, assess, gate
from accounting.rates import RateCard
from accounting.speed import Expected
from accounting.usage import Attempt, Resources

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
GPU = Resources(cores=4, gpus=1)  # 0.45 USD an hour at peak, 0.225 off-peak
HOUR = Expected(seconds=Decimal(3600), basis="measured: 3,000 images/s (run)", measured=True)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, start: datetime) -> None:
        self.now = start.timestamp()

    def __call__(self) -> float:
        """Gives the time in seconds since 1970."""
        return self.now


def run_loop(guard: BudgetGuard, clock: Clock, step_seconds: Callable[[int], float]) -> int:
    """Steps until the guard says stop; gives how many steps were done."""
    for step in range(100_000):
        if guard.stop_reason(step=step, total_steps=100_000) is not None:
            return step
        clock.now += step_seconds(step)
    raise AssertionError("the guard never stopped")


def test_a_run_that_fits_passes_and_shows_its_share(default_card: RateCard) -> None:
    """The verdict holds estimate, utilisation, finish and the basis of the estimate."""
    verdict = gate(
        resources=GPU, card=default_card, start=NOON, expected=HOUR, budget_usd=1, spent_usd=0.1
    )
    assert verdict.estimate.total_cost_usd == Decimal("0.45")
    assert verdict.total_usd == Decimal("0.55")
    assert verdict.utilisation == Decimal("0.55")
    assert verdict.finish == NOON + timedelta(hours=1)
    assert "55.0% of the budget" in verdict.describe()
    assert "measured: 3,000 images/s" in verdict.describe()


def test_a_run_that_does_not_fit_is_stopped_with_the_mend(default_card: RateCard) -> None:
    """The error names budget, estimate, basis and the first start at which the run fits."""
    with pytest.raises(BudgetExceeded) as stopped:
        gate(resources=GPU, card=default_card, start=NOON, expected=HOUR, budget_usd=0.3)
    message = str(stopped.value)
    assert isinstance(stopped.value, ValueError)
    assert message.startswith("budget_usd is 0.3, but expected 0.450000 USD = 150.0%")
    assert "start it at 2026-03-04 22:00 UTC or raise budget_usd to 0.450000" in message
    assert "\n" not in message
    assert stopped.value.verdict.utilisation == Decimal("1.5")


def test_no_start_is_proposed_where_none_fits(default_card: RateCard) -> None:
    """A budget below the cheapest band leaves only raising it or asking for less."""
    with pytest.raises(BudgetExceeded) as stopped:
        gate(resources=GPU, card=default_card, start=NOON, expected=HOUR, budget_usd=0.1)
    assert "start it at" not in str(stopped.value)


def test_what_was_spent_before_counts(default_card: RateCard) -> None:
    """A resumed run has only what earlier attempts left."""
    with pytest.raises(BudgetExceeded, match=r"\+ 0.6 USD spent before"):
        gate(
            resources=GPU, card=default_card, start=NOON, expected=HOUR, budget_usd=1, spent_usd=0.6
        )


def test_a_run_that_ends_too_late_is_stopped(default_card: RateCard) -> None:
    """The deadline is checked before anything is asked for."""
    with pytest.raises(DeadlineExceeded, match="deadline is 2026-03-04 12:30 UTC, but expected"):
        gate(
            resources=GPU,
            card=default_card,
            start=NOON,
            expected=HOUR,
            deadline=NOON + timedelta(minutes=30),
        )


def test_assess_prices_without_judging(default_card: RateCard) -> None:
    """The same verdict can be shown where the run is to go on anyway."""
    verdict = assess(
        resources=GPU, card=default_card, start=NOON, expected=HOUR, budget_usd=0.1, spot=True
    )
    assert verdict.estimate.total_cost_usd == Decimal("0.135")
    assert not verdict.within_budget
    assert verdict.within_deadline


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_usd": -1}, "budget_usd is -1; give a number of at least 0"),
        ({"start": datetime(2026, 3, 4)}, "start is 2026-03-04T00:00:00 without a time zone"),  # noqa: DTZ001
        ({"deadline": datetime(2026, 3, 4)}, "deadline is 2026-03-04T00:00:00 without"),  # noqa: DTZ001
        ({"priority": "asap"}, "priority is 'asap'"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(
    default_card: RateCard, changes: dict[str, object], message: str
) -> None:
    """One line names the field."""
    with pytest.raises(ValueError, match=message):
        gate(
            **{
                "resources": GPU,
                "card": default_card,
                "start": NOON,
                "expected": HOUR,
                **changes,
            }
        )


@given(
    step_seconds=st.floats(0.01, 120),
    jitter=st.floats(0, 0.09),
    budget=st.integers(1, 300),
    start_minute=st.integers(0, 7 * 1440),
)
@settings(max_examples=40, deadline=None)
def test_the_guard_never_overspends_and_wastes_little(
    default_card: RateCard, step_seconds: float, jitter: float, budget: int, start_minute: int
) -> None:
    """With steps within its margin the bill stays in the budget and nearly uses it up.

    Less than three steps' worth of money is left, whichever bands the run crosses.
    """
    start = NOON + timedelta(minutes=start_minute)
    budget_usd = Decimal(budget) * Decimal("0.0001") * Decimal(str(round(step_seconds, 2)))
    clock = Clock(start)
    guard = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=start,
        budget_usd=budget_usd,
        first_step_seconds=step_seconds,
        clock=clock,
    )
    run_loop(guard, clock, lambda step: step_seconds * (1 + jitter * (step % 3 == 0)))
    end = datetime.fromtimestamp(clock.now, UTC)
    spent = bill(
        [Attempt(task="train", number=0, start=start, end=end, resources=GPU)], default_card
    ).usd
    assert spent <= budget_usd
    assert guard.reason == "budget"
    worth = Decimal("0.45") / 3600 * Decimal(step_seconds)
    assert budget_usd - guard.spent_usd(end) <= 3 * worth + Decimal("0.000001")


def test_a_resumed_run_adds_to_what_was_spent(default_card: RateCard) -> None:
    """Stopped by a small budget, resumed with a larger one: both bills add up to the larger."""
    clock = Clock(NOON)
    first = BudgetGuard(
        card=default_card, resources=GPU, attempt_start=NOON, budget_usd=0.1, clock=clock
    )
    run_loop(first, clock, lambda _: 1.0)
    stopped = datetime.fromtimestamp(clock.now, UTC)
    spent = first.spent_usd(stopped)
    assert Decimal("0.0995") < spent <= Decimal("0.1")

    start = stopped + timedelta(hours=14)  # after 22:00, so the second part is cheaper
    clock.now = start.timestamp()
    again = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=start,
        budget_usd=0.1,
        spent_before_usd=spent,
        first_step_seconds=10,
        clock=clock,
    )
    assert again.stop_reason(step=0, total_steps=1) == "budget"
    larger = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=start,
        budget_usd=0.3,
        spent_before_usd=spent,
        clock=clock,
    )
    run_loop(larger, clock, lambda _: 1.0)
    end = datetime.fromtimestamp(clock.now, UTC)
    attempts = [
        Attempt(task="train", number=0, start=NOON, end=stopped, resources=GPU, outcome="stopped"),
        Attempt(task="train", number=1, start=start, end=end, resources=GPU, outcome="stopped"),
    ]
    bills = [bill([attempt], default_card).total_cost_usd for attempt in attempts]
    assert abs(bills[0] - spent) <= Decimal("0.000001")
    assert sum(bills) == bill(attempts, default_card).total_cost_usd
    assert abs(sum(bills) - larger.spent_usd(end)) <= Decimal("0.000004")  # four rounded lines
    assert larger.utilisation(end) <= 1


def test_the_budget_already_spent_stops_before_the_first_step(default_card: RateCard) -> None:
    """Nothing left means no step, even if the clock has not moved."""
    guard = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=NOON,
        budget_usd=1,
        spent_before_usd=1,
        clock=Clock(NOON),
    )
    assert guard.stop_reason(step=0, total_steps=10) == "budget"


@pytest.mark.parametrize(
    ("budget_usd", "deadline_minutes", "reason", "minutes"),
    [(0.225, 60, "budget", 30), (0.45, 20, "deadline", 20), (None, 20, "deadline", 20)],
)
def test_the_earlier_of_budget_and_deadline_gives_the_reason(
    default_card: RateCard,
    budget_usd: float | None,
    deadline_minutes: int,
    reason: str,
    minutes: int,
) -> None:
    """The guard says which limit it was, and keeps it to within a step and a tenth."""
    clock = Clock(NOON)
    guard = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=NOON,
        budget_usd=budget_usd,
        deadline=NOON + timedelta(minutes=deadline_minutes),
        clock=clock,
    )
    steps = run_loop(guard, clock, lambda _: 2.0)
    assert guard.stop_reason(step=steps, total_steps=steps) == reason
    assert minutes * 60 - 4.5 <= steps * 2.0 <= minutes * 60


def test_time_is_kept_for_what_follows_the_last_step(default_card: RateCard) -> None:
    """The reserve leaves room for the checkpoint and the hand-over."""
    clock = Clock(NOON)
    guard = BudgetGuard(
        card=default_card,
        resources=GPU,
        attempt_start=NOON,
        budget_usd=None,
        deadline=NOON + timedelta(minutes=10),
        reserve_seconds=120,
        clock=clock,
    )
    assert run_loop(guard, clock, lambda _: 1.0) == pytest.approx(480, abs=3)


def test_without_limits_the_guard_never_stops(default_card: RateCard) -> None:
    """No budget and no deadline mean no reason, ever."""
    guard = BudgetGuard(card=default_card, resources=GPU, attempt_start=NOON, budget_usd=None)
    assert guard.stops_at is None
    assert guard.stop_reason(step=0, total_steps=1) is None
    assert guard.utilisation(NOON) is None


def test_asking_costs_microseconds(default_card: RateCard) -> None:
    """A question costs under 20 microseconds: below 1% of a step of 2 ms, on a busy machine too."""
    guard = BudgetGuard(
        card=default_card, resources=GPU, attempt_start=datetime.now(UTC), budget_usd=1000
    )
    best = min(_seconds_for(guard, 5_000) for _ in range(5)) / 5_000
    assert best < 20e-6


def _seconds_for(guard: BudgetGuard, calls: int) -> float:
    begun = time.perf_counter()
    for step in range(calls):
        guard.stop_reason(step=step, total_steps=calls)
    return time.perf_counter() - begun

"""Budgets: a gate before training, and a guard that stops a loop before it overspends."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import inf

from accounting.bill import Bill, estimate
from accounting.curve import PriceCurve
from accounting.quantities import EPOCH, exact, instant, instant_or_none, rounded_usd
from accounting.rates import RateCard
from accounting.speed import Expected
from accounting.usage import Resources

HORIZON = timedelta(days=366)
"""No attempt is watched for longer than this."""

LOOKAHEAD = timedelta(days=8)
"""How far ahead the gate looks for a start that fits: one week and a day."""

RECENT_STEPS = 16
"""Steps whose slowest predicts the next one."""

SAFETY = 1.1
"""Factor on the predicted length of the next step."""


class BudgetExceeded(ValueError):  # noqa: N818 - the name says what happened, as people say it
    """A planned run does not fit its budget."""

    def __init__(self, message: str, *, verdict: "Verdict") -> None:
        super().__init__(message)
        self.verdict = verdict


class DeadlineExceeded(ValueError):  # noqa: N818 - as above
    """A planned run does not end before its deadline."""

    def __init__(self, message: str, *, verdict: "Verdict") -> None:
        super().__init__(message)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a planned run should cost, beside what it may."""

    estimate: Bill
    """The expected bill of what is still to be done."""

    expected: Expected
    """The expected time, with the basis it rests on."""

    spent_usd: Decimal
    """What earlier attempts cost."""

    budget_usd: Decimal | None
    """What all attempts together may cost, or None for no limit."""

    deadline: datetime | None
    """When the run must be over, UTC, or None for any time."""

    @property
    def total_usd(self) -> Decimal:
        """What all attempts together should cost."""
        return self.spent_usd + self.estimate.total_cost_usd

    @property
    def finish(self) -> datetime:
        """When the run should be over."""
        return self.estimate.attempts[0].end

    @property
    def utilisation(self) -> Decimal | None:
        """Share of the budget that should be used, 1 for all of it; None without a budget."""
        if not self.budget_usd:
            return None
        return (self.total_usd / self.budget_usd).quantize(Decimal("0.0001"))

    @property
    def within_budget(self) -> bool:
        """Says whether the money suffices."""
        return self.budget_usd is None or self.total_usd <= self.budget_usd

    @property
    def within_deadline(self) -> bool:
        """Says whether the time suffices."""
        return self.deadline is None or self.finish <= self.deadline

    def describe(self) -> str:
        """Says it in one line for people."""
        share = "" if self.utilisation is None else f" = {self.utilisation:.1%} of the budget"
        before = f" + {self.spent_usd} USD spent before" if self.spent_usd else ""
        return (
            f"expected {self.estimate.total_cost_usd} USD{before}{share}, "
            f"{self.expected.seconds} s, done by {self.finish:%Y-%m-%d %H:%M} UTC "
            f"({self.expected.basis})"
        )


def assess(
    *,
    resources: Resources,
    card: RateCard,
    start: datetime,
    expected: Expected,
    budget_usd: Decimal | float | None = None,
    deadline: datetime | None = None,
    spent_usd: Decimal | float = 0,
    spot: bool = False,
    priority: str = "normal",
) -> Verdict:
    """Prices a planned run and sets it beside its budget and deadline, without judging.

    Raises:
        ValueError: A time has no zone, an amount is negative, or the card cannot price the run.
    """
    return Verdict(
        estimate=estimate(
            resources, card, start=start, seconds=expected.seconds, spot=spot, priority=priority
        ),
        expected=expected,
        spent_usd=exact(spent_usd, field="spent_usd"),
        budget_usd=None if budget_usd is None else exact(budget_usd, field="budget_usd"),
        deadline=instant_or_none(deadline, field="deadline"),
    )


def gate(
    *,
    resources: Resources,
    card: RateCard,
    start: datetime,
    expected: Expected,
    budget_usd: Decimal | float | None = None,
    deadline: datetime | None = None,
    spent_usd: Decimal | float = 0,
    spot: bool = False,
    priority: str = "normal",
) -> Verdict:
    """Lets a planned run pass, or stops it before anything is asked for.

    Raises:
        BudgetExceeded: The run should cost more than is left; the message names budget, estimate
            and the mend, such as the first start within eight days at which it fits.
        DeadlineExceeded: The run should end after its deadline.
        ValueError: As `assess`.
    """
    verdict = assess(
        resources=resources,
        card=card,
        start=start,
        expected=expected,
        budget_usd=budget_usd,
        deadline=deadline,
        spent_usd=spent_usd,
        spot=spot,
        priority=priority,
    )
    if not verdict.within_budget:
        later = _first_start_that_fits(verdict, card)
        mend = f"start it at {later:%Y-%m-%d %H:%M} UTC or " if later else ""
        raise BudgetExceeded(
            f"budget_usd is {verdict.budget_usd}, but {verdict.describe()}; {mend}"
            f"raise budget_usd to {verdict.total_usd} or ask for less",
            verdict=verdict,
        )
    if not verdict.within_deadline:
        raise DeadlineExceeded(
            f"deadline is {verdict.deadline:%Y-%m-%d %H:%M} UTC, but {verdict.describe()}; "
            "start earlier, allow more time or use more workers",
            verdict=verdict,
        )
    return verdict


def _first_start_that_fits(verdict: Verdict, card: RateCard) -> datetime | None:
    """Looks for the first change of price at which the same run fits budget and deadline."""
    planned = verdict.estimate.attempts[0]
    curve = PriceCurve.of(
        card,
        planned.resources,
        start=planned.start,
        end=planned.start + LOOKAHEAD + planned.duration,
        spot=planned.spot,
        priority=planned.priority,
    )
    for at in curve.changes():
        end = at + planned.duration
        late = verdict.deadline is not None and end > verdict.deadline
        if at > planned.start + LOOKAHEAD or late:
            return None
        cost = rounded_usd(curve.usd(at, end))
        if verdict.budget_usd is not None and cost + verdict.spent_usd <= verdict.budget_usd:
            return at
    return None


class BudgetGuard:
    """Stops a loop before the step that would pass its budget or its deadline.

    It fits `training.reporter.Guard` by shape. Cost only ever grows with time, so the instant at
    which the money is gone is found once, over all bands ahead; asking costs a look at the clock.

    Args:
        card: The rates.
        resources: What all processes of the attempt hold together.
        attempt_start: When the charge for this attempt began.
        budget_usd: What all attempts together may cost, or None for no limit.
        deadline: When the last step must be over, or None for any time.
        spent_before_usd: What earlier attempts cost; a resumed run counts them.
        spot: Whether this attempt runs on spot capacity.
        priority: Its priority.
        reserve_seconds: Time to keep for what follows the last step (checkpoint, hand-over).
        first_step_seconds: Expected length of the first step, before any was seen.
        clock: Seconds since 1970.

    Raises:
        ValueError: A time has no zone, an amount is negative, or the card cannot price the
            resources.
    """

    def __init__(
        self,
        *,
        card: RateCard,
        resources: Resources,
        attempt_start: datetime,
        budget_usd: Decimal | float | None,
        deadline: datetime | None = None,
        spent_before_usd: Decimal | float = 0,
        spot: bool = False,
        priority: str = "normal",
        reserve_seconds: float = 0.0,
        first_step_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        start = instant(attempt_start, field="attempt_start")
        self._spent_before = exact(spent_before_usd, field="spent_before_usd")
        self._start = start
        self._curve = PriceCurve.of(
            card, resources, start=start, end=start + HORIZON, spot=spot, priority=priority
        )
        self._reserve = float(exact(reserve_seconds, field="reserve_seconds"))
        self._clock = clock
        self.budget_usd = None if budget_usd is None else exact(budget_usd, field="budget_usd")
        self.stops_at, self.reason = self._limit(instant_or_none(deadline, field="deadline"))
        self._stop_timestamp = inf if self.stops_at is None else self.stops_at.timestamp()
        self._recent: deque[float] = deque(
            [float(exact(first_step_seconds, field="first_step_seconds"))], maxlen=RECENT_STEPS
        )
        self._last: tuple[int, float] | None = None

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:  # noqa: ARG002 - the protocol's names
        """Says "budget" or "deadline" where the step numbered `step` would end too late, or None.

        The slowest of the recent steps, with a small margin, stands for the next one.
        """
        now = self._clock()
        if self._last is not None:
            last_step, last_time = self._last
            self._recent.append((now - last_time) / max(step - last_step, 1))
        self._last = (step, now)
        if now + max(self._recent) * SAFETY + self._reserve <= self._stop_timestamp:
            return None
        return self.reason

    def spent_usd(self, at: datetime) -> Decimal:
        """What all attempts cost up to an instant of this one."""
        return rounded_usd(self._spent_exactly(instant(at, field="at")))

    def utilisation(self, at: datetime) -> Decimal | None:
        """Share of the budget that is used up at an instant; None without a budget."""
        if not self.budget_usd:
            return None
        return (self.spent_usd(at) / self.budget_usd).quantize(Decimal("0.0001"))

    def _spent_exactly(self, at: datetime) -> Fraction:
        return Fraction(self._spent_before) + self._curve.usd(self._start, at)

    def _limit(self, deadline: datetime | None) -> tuple[datetime | None, str | None]:
        """Finds which of budget and deadline ends the run first, and when."""
        broke = None
        if self.budget_usd is not None:
            left = Fraction(self.budget_usd) - Fraction(self._spent_before)
            if left <= 0:
                return EPOCH, "budget"
            broke = self._curve.when_spent(left, start=self._start)
        if broke is not None and (deadline is None or broke <= deadline):
            return broke, "budget"
        return (deadline, "deadline") if deadline is not None else (None, None)

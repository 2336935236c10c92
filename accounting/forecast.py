"""How long a run still takes and what it still costs, with intervals, from its step timings.

Warm-up is dropped by a rule (`warm_up_steps`), the rest is averaged into at most 24 equal blocks,
and `accounting.extrapolation` tells the mean of the steps to come. Cost only grows with time, so
the ends of the time interval, priced over the tariff ahead, are the ends of the cost interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import fmean, median
from typing import Any

from accounting.bounds import not_negative
from accounting.curve import PriceCurve
from accounting.extrapolation import look_ahead
from accounting.quantities import instant, rounded_usd
from accounting.rates import RateCard
from accounting.usage import Resources, Utilisation

LEVEL = 0.95
MOST_BLOCKS = 24
FEWEST_STEPS = 8
WARM_UP_WINDOW = 5
LOW_SHARE = 0.7
"""Share of the doubt left below the interval. Time surprises upwards more often and farther, so the
upper end is the one to be surer of."""


@dataclass(frozen=True, kw_only=True)
class TimeForecast:
    """Seconds that the steps to come take, with an interval."""

    remaining_steps: int
    """Steps to come."""
    expected_seconds: float
    """Mean of the forecast."""
    low_seconds: float
    """Lower end of the interval."""
    high_seconds: float
    """Upper end of the interval."""
    level: float
    """Probability that the interval holds the truth."""
    used_steps: int
    """Measured steps that the forecast rests on; 0 where the step time was only stated."""
    dropped_steps: int
    """Measured steps left out as warm-up."""
    assumptions: tuple[str, ...]
    """What the numbers rest on, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When a run ends and what it still costs, with intervals of the same level."""

    time: TimeForecast
    """The seconds behind it."""
    start: datetime
    """When the steps to come begin, in UTC: usually now."""
    spent_usd: Decimal
    """What the run has cost before `start`."""
    expected_usd: Decimal
    """Cost from `start` on if the steps take the expected time."""
    low_usd: Decimal
    """Cost from `start` on at the lower end."""
    high_usd: Decimal
    """Cost from `start` on at the upper end."""

    @property
    def expected_end(self) -> datetime:
        """When the run is expected to end."""
        return self._after(self.time.expected_seconds)

    @property
    def low_end(self) -> datetime:
        """When the run ends at the earliest."""
        return self._after(self.time.low_seconds)

    @property
    def high_end(self) -> datetime:
        """When the run ends at the latest."""
        return self._after(self.time.high_seconds)

    def fits(
        self, *, budget_usd: Decimal | None = None, deadline: datetime | None = None
    ) -> bool | None:
        """Says whether the whole run fits: True or False at both ends, None where it is open."""
        verdicts = []
        if budget_usd is not None:
            left = budget_usd - self.spent_usd
            verdicts.append((self.low_usd <= left, self.high_usd <= left))
        if deadline is not None:
            deadline = instant(deadline, field="deadline")
            verdicts.append((self.low_end <= deadline, self.high_end <= deadline))
        if all(surely for _, surely in verdicts):
            return True
        return None if all(perhaps for perhaps, _ in verdicts) else False

    def to_record(self) -> dict[str, Any]:
        """Gives the forecast as a JSON object; money as text, exact."""
        return {
            "remaining_steps": self.time.remaining_steps,
            "level": self.time.level,
            "seconds": {
                "expected": self.time.expected_seconds,
                "low": self.time.low_seconds,
                "high": self.time.high_seconds,
            },
            "end": {
                "expected": self.expected_end.isoformat(),
                "low": self.low_end.isoformat(),
                "high": self.high_end.isoformat(),
            },
            "usd": {
                "expected": str(self.expected_usd),
                "low": str(self.low_usd),
                "high": str(self.high_usd),
            },
            "spent_usd": str(self.spent_usd),
            "used_steps": self.time.used_steps,
            "dropped_steps": self.time.dropped_steps,
            "assumptions": list(self.time.assumptions),
        }

    def _after(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)


def warm_up_steps(step_seconds: Sequence[float]) -> int:
    """Counts the first steps that are slower than a run in full swing.

    A step still warms up while it, or the median of it and the four steps after it, is slower than
    the median of the second half by three robust standard deviations and by 5%. At most a quarter
    of the steps is dropped: what stays slow for longer is no warm-up.

    >>> warm_up_steps([9.0, 2.0, 1.0, 1.1, 1.0, 0.9, 1.0, 1.1, 1.0, 1.0, 0.9, 1.0])
    2
    """
    settled = step_seconds[len(step_seconds) // 2 :]
    if not settled:
        return 0
    middle = median(settled)
    spread = 1.4826 * median(abs(seconds - middle) for seconds in settled)
    limit = middle + max(3 * spread, 0.05 * middle)
    most = len(step_seconds) // 4
    for step in range(most):
        window = step_seconds[step : step + WARM_UP_WINDOW]
        if max(window[0], median(window)) <= limit:
            return step
    return most


def forecast_time(
    step_seconds: Sequence[float],
    *,
    remaining_steps: int,
    new_run: bool = False,
    level: float = LEVEL,
) -> TimeForecast:
    """Forecasts the seconds of the steps to come from the seconds of the steps so far.

    Args:
        step_seconds: Wall seconds of each step, in order, of this run or of a past one.
        remaining_steps: Steps to come; 0 is a run that is done.
        new_run: Whether the steps to come are a new run's, which warms up once more.
        level: Probability that the interval holds the truth.

    Raises:
        ValueError: a value is not above 0, or too few steps are left after warm-up.
    """
    not_negative("remaining_steps", remaining_steps)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a probability between 0 and 1, such as 0.95")
    for step, seconds in enumerate(step_seconds):
        if not 0 < seconds < math.inf:
            raise ValueError(f"step_seconds[{step}] is {seconds}; give seconds above 0")
    dropped = warm_up_steps(step_seconds)
    used = step_seconds[dropped:]
    if len(used) < FEWEST_STEPS:
        raise ValueError(
            f"step_seconds holds {len(used)} steps after warm-up; measure at least {FEWEST_STEPS}"
        )
    blocks, length = _block_means(used)
    outlook = look_ahead(blocks, horizon=max(remaining_steps, 1) / length)
    warm_up = sum(step_seconds[:dropped]) - dropped * outlook.mean if new_run else 0.0
    warm_up = max(warm_up, 0.0) if remaining_steps else 0.0
    below = LOW_SHARE * (1 - level)
    likeness = (
        f"the steps to come go on like the {len(used)} measured after {dropped} of warm-up, "
        "drift included"
    )
    return TimeForecast(
        remaining_steps=remaining_steps,
        expected_seconds=remaining_steps * outlook.mean + warm_up,
        low_seconds=remaining_steps * outlook.quantile(below) + warm_up,
        high_seconds=remaining_steps * outlook.quantile(below + level) + warm_up,
        level=level,
        used_steps=len(used),
        dropped_steps=dropped,
        assumptions=(
            likeness,
            "the machine and what else runs on it stay the same",
        ),
    )


def stated_time(steps: int, *, step_seconds: float, margin: float) -> TimeForecast:
    """States the time of a run that was never measured; `margin` is how wrong it may be.

    >>> stated_time(100, step_seconds=2.0, margin=0.25).high_seconds
    250.0
    """
    not_negative("steps", steps)
    not_negative("step_seconds", step_seconds)
    not_negative("margin", margin)
    seconds = steps * step_seconds
    return TimeForecast(
        remaining_steps=steps,
        expected_seconds=seconds,
        low_seconds=seconds / (1 + margin),
        high_seconds=seconds * (1 + margin),
        level=LEVEL,
        used_steps=0,
        dropped_steps=0,
        assumptions=(f"{step_seconds:g} s a step is stated, not measured; within {margin:.0%}",),
    )


def forecast(
    time: TimeForecast,
    *,
    start: datetime,
    card: RateCard,
    resources: Resources,
    spot: bool = False,
    priority: str = "normal",
    utilisation: Utilisation | None = None,
    spent_usd: Decimal = Decimal(0),
) -> Forecast:
    """Prices a time forecast over the tariff from `start` (aware) on."""
    start = instant(start, field="start")
    lengths = [time.low_seconds, time.expected_seconds, time.high_seconds]
    ends = [start + timedelta(seconds=seconds) for seconds in lengths]
    curve = PriceCurve.of(
        card,
        resources,
        start=start,
        end=max(*ends, start + timedelta(seconds=1)),
        spot=spot,
        priority=priority,
        utilisation=utilisation,
    )
    low, expected, high = (rounded_usd(curve.usd(start, end)) for end in ends)
    return Forecast(
        time=time,
        start=start,
        spent_usd=spent_usd,
        expected_usd=expected,
        low_usd=low,
        high_usd=high,
    )


def _block_means(step_seconds: Sequence[float]) -> tuple[list[float], int]:
    """Means of equal blocks, and their length; the oldest steps that fill none are left out."""
    length = math.ceil(len(step_seconds) / MOST_BLOCKS)
    first = len(step_seconds) % length
    blocks = [fmean(step_seconds[i : i + length]) for i in range(first, len(step_seconds), length)]
    return blocks, length

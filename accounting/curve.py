"""The price of some resources over time, prepared for many questions.

Prices are piecewise constant, so the cost from one instant to another is a difference of two
running sums: a question costs a search in a sorted list, however many bands lie between.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import lcm

from accounting.quantities import EPOCH, MICROSECONDS_PER_HOUR, instant, microseconds
from accounting.rates import RateCard, hourly_usd
from accounting.usage import Resources, Utilisation


@dataclass(frozen=True, kw_only=True)
class PriceCurve:
    """Price per hour from `start` to `end`; answers are exact, and the same as a bill's."""

    start: datetime
    """First instant that can be asked about, UTC."""

    end: datetime
    """Last instant that can be asked about, UTC."""

    begins: tuple[int, ...]
    """Where each price begins, in microseconds since 1970."""

    prices: tuple[Fraction, ...]
    """USD per hour from there on."""

    bands: tuple[str, ...]
    """Band that each price belongs to."""

    @classmethod
    def of(
        cls,
        card: RateCard,
        resources: Resources,
        *,
        start: datetime,
        end: datetime,
        spot: bool = False,
        priority: str = "normal",
        utilisation: Utilisation | None = None,
    ) -> "PriceCurve":
        """Prepares the prices of resources from `start` to `end`.

        Raises:
            ValueError: `end` is not after `start`, or the card cannot price the resources.
        """
        start, end = instant(start, field="start"), instant(end, field="end")
        if end <= start:
            raise ValueError(f"end is {end.isoformat()}, not after {start.isoformat()}")
        begins, prices, bands = [], [], []
        for span in card.spans(start, end):
            begins.append(microseconds(span.start))
            bands.append(span.band.name)
            prices.append(
                hourly_usd(span, resources, spot=spot, priority=priority, utilisation=utilisation)
            )
        return cls(
            start=start,
            end=end,
            begins=tuple(begins),
            prices=tuple(prices),
            bands=tuple(bands),
        )

    def usd(self, start: datetime, end: datetime) -> Fraction:
        """Integrates the price from `start` to `end`, exactly.

        Raises:
            ValueError: The interval is negative or leaves the curve.
        """
        low, high = microseconds(start), microseconds(end)
        if low > high or low < self.begins[0] or high > self._last:
            raise ValueError(
                f"{start.isoformat()} to {end.isoformat()} is no interval within the curve "
                f"from {self.start.isoformat()} to {self.end.isoformat()}"
            )
        return Fraction(self._until(high) - self._until(low), self._unit)

    def changes(self) -> Iterator[datetime]:
        """Lists the instants after the start at which the price or the band changes."""
        for at in self.begins[1:]:
            yield EPOCH + timedelta(microseconds=at)

    def usd_per_hour(self, moment: datetime) -> Fraction:
        """Gives the price at an instant."""
        return self.prices[self._index(microseconds(moment))]

    def band(self, moment: datetime) -> str:
        """Names the band at an instant."""
        return self.bands[self._index(microseconds(moment))]

    def when_spent(self, usd: Fraction, *, start: datetime) -> datetime | None:
        """Finds the first instant at which `usd` has been spent since `start`.

        The answer is rounded down to the microsecond; None means not before the curve ends.
        """
        low = microseconds(start)
        goal = self._until(low) + usd * self._unit
        if usd <= 0:
            return start
        if self._until(self._last) < goal:
            return None
        index = bisect_left(self._sums, goal) - 1
        at = self.begins[index] + (goal - self._sums[index]) // self._scaled[index]
        return EPOCH + timedelta(microseconds=int(at))

    @cached_property
    def _last(self) -> int:
        return microseconds(self.end)

    @cached_property
    def _denominator(self) -> int:
        """Makes every price a whole number, so that sums are sums of whole numbers."""
        return lcm(*(price.denominator for price in self.prices))

    @cached_property
    def _unit(self) -> int:
        return self._denominator * MICROSECONDS_PER_HOUR

    @cached_property
    def _scaled(self) -> tuple[int, ...]:
        return tuple(int(price * self._denominator) for price in self.prices)

    @cached_property
    def _sums(self) -> tuple[int, ...]:
        steps = (
            (after - before) * price
            for before, after, price in zip(
                self.begins, self.begins[1:], self._scaled, strict=False
            )
        )
        return (0, *accumulate(steps))

    def _index(self, at: int) -> int:
        return max(bisect_right(self.begins, at) - 1, 0)

    def _until(self, at: int) -> int:
        index = self._index(at)
        return self._sums[index] + (at - self.begins[index]) * self._scaled[index]

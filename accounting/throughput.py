"""How the time of a step grows with its batch: a fixed part and a part per item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from accounting.bounds import at_least_one, fraction, positive
from accounting.least_squares import non_negative_least_squares


@dataclass(frozen=True, kw_only=True)
class BatchPoint:
    """One measurement: the mean time of a step at a batch size."""

    batch_size: int
    """Items in a step."""
    step_seconds: float
    """Mean seconds of a step."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        at_least_one("batch_size", self.batch_size)
        positive("step_seconds", self.step_seconds)


@dataclass(frozen=True, kw_only=True)
class ThroughputCurve:
    """Seconds of a step as fixed + per item x batch.

    >>> curve = ThroughputCurve(fixed_seconds=0.03, item_seconds=0.001)
    >>> round(curve.seconds_per_item(10), 6), round(curve.seconds_per_item(30), 6)
    (0.004, 0.002)
    """

    fixed_seconds: float
    """What a step takes however small its batch: launches, Python, the optimiser."""
    item_seconds: float
    """What each item adds."""

    @classmethod
    def fit(cls, points: Sequence[BatchPoint]) -> Self:
        """Fits measured points by non-negative least squares, each point relative to its time.

        Raises:
            ValueError: there are not two different batch sizes.
        """
        if len({point.batch_size for point in points}) < 2:
            raise ValueError("points has fewer than two batch sizes; measure another one")
        rows = [[1 / p.step_seconds, p.batch_size / p.step_seconds] for p in points]
        fixed, item = non_negative_least_squares(rows, [1.0] * len(points))
        return cls(fixed_seconds=fixed, item_seconds=item)

    @classmethod
    def from_busy_share(cls, *, batch_size: int, step_seconds: float, busy: float) -> Self:
        """Models the curve from one batch: only the share in which the device works grows."""
        fraction("busy", busy)
        return cls(
            fixed_seconds=(1 - busy) * step_seconds,
            item_seconds=busy * step_seconds / batch_size,
        )

    def seconds_per_item(self, batch_size: int) -> float:
        """Seconds that one item costs at a batch size."""
        at_least_one("batch_size", batch_size)
        return self.fixed_seconds / batch_size + self.item_seconds

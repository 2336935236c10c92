"""A recommendation and how several of them combine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from math import prod
from typing import Any, Literal

from accounting.quantities import rounded_usd

Confidence = Literal["high", "medium", "low"]
Lever = Literal["step time", "steps", "cores and memory", "gpu", "start", "purchase"]

LEAST_SAVING = 0.005
"""Savings below half a percent are noise and count as none."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One way to spend less, with the saving it would have brought to the run at hand."""

    strategy: str
    """Name of the way, such as "spot"."""
    saving: float | None
    """Fraction of the run's cost, or None where it cannot be told or there is none."""
    action: str
    """What to do, or why there is nothing to do."""
    assumption: str = ""
    """What must hold for the saving to come true."""
    confidence: Confidence | None = None
    """High: measured on this run. Medium: modelled from it. Low: rests on stated figures."""
    levers: frozenset[Lever] = frozenset()
    """What it changes; two recommendations that pull the same lever cannot be added up."""

    @classmethod
    def absent(cls, strategy: str, reason: str) -> "Recommendation":
        """Says why a way has no saving."""
        return cls(strategy=strategy, saving=None, action=reason)

    @classmethod
    def worth(
        cls,
        strategy: str,
        saving: float,
        *,
        action: str,
        assumption: str,
        confidence: Confidence,
        levers: set[Lever],
    ) -> "Recommendation":
        """A way with its saving, or its absence where it would save next to nothing."""
        if saving < LEAST_SAVING:
            return cls.absent(strategy, "would save nothing on this run")
        return cls(
            strategy=strategy,
            saving=saving,
            action=action,
            assumption=assumption,
            confidence=confidence,
            levers=frozenset(levers),
        )

    def to_record(self) -> dict[str, Any]:
        """Gives the recommendation as a JSON object."""
        return {
            "strategy": self.strategy,
            "saving": self.saving,
            "action": self.action,
            "assumption": self.assumption,
            "confidence": self.confidence,
            "levers": sorted(self.levers),
        }


@dataclass(frozen=True, kw_only=True)
class Advice:
    """All recommendations for a run, and the best set of those that go together."""

    cost: Fraction
    """What the run cost, in dollars, unrounded."""
    recommendations: tuple[Recommendation, ...]
    """The largest saving first, then those without one."""
    combined: tuple[str, ...]
    """Strategies of the best set that pulls no lever twice."""

    @property
    def cost_usd(self) -> Decimal:
        """What the run cost, rounded to millionths."""
        return rounded_usd(self.cost)

    @property
    def combined_saving(self) -> float:
        """Fraction saved by the set together: what is left multiplies."""
        return _together([r for r in self.recommendations if r.strategy in self.combined])

    @property
    def combined_saving_usd(self) -> Decimal:
        """Dollars saved by the set together."""
        return rounded_usd(self.cost * Fraction(self.combined_saving))

    def saving_usd(self, strategy: str) -> Decimal | None:
        """Dollars saved by one strategy alone, or None where it has no saving."""
        found = next(r for r in self.recommendations if r.strategy == strategy)
        return None if found.saving is None else rounded_usd(self.cost * Fraction(found.saving))

    def to_record(self) -> dict[str, Any]:
        """Gives the advice as a JSON object; money as text."""
        return {
            "cost_usd": str(self.cost_usd),
            "recommendations": [
                {**r.to_record(), "saving_usd": _text(self.saving_usd(r.strategy))}
                for r in self.recommendations
            ],
            "combined": list(self.combined),
            "combined_saving": self.combined_saving,
            "combined_saving_usd": str(self.combined_saving_usd),
        }


def combine(cost: Fraction, recommendations: Iterable[Recommendation]) -> Advice:
    """Sorts recommendations and finds the set with the largest saving that pulls no lever twice.

    Every set is tried: with fewer than a dozen recommendations that is a few hundred.
    """
    ordered = sorted(recommendations, key=lambda r: -1.0 if r.saving is None else r.saving)[::-1]
    useful = [r for r in ordered if r.saving is not None]
    best: Sequence[Recommendation] = ()
    for size in range(1, len(useful) + 1):
        for chosen in combinations(useful, size):
            pulled = [lever for r in chosen for lever in r.levers]
            if len(pulled) == len(set(pulled)) and _together(chosen) > _together(best):
                best = chosen
    return Advice(
        cost=cost,
        recommendations=tuple(ordered),
        combined=tuple(r.strategy for r in best),
    )


def _together(chosen: Iterable[Recommendation]) -> float:
    """Savings act one after another, each on what the others left.

    >>> half = Recommendation(strategy="spot", saving=0.5, action="")
    >>> _together([half, half])
    0.75
    """
    return 1 - prod(1 - (r.saving or 0.0) for r in chosen)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)

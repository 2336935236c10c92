"""Configurations side by side: what they cost against how good they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from statistics import fmean, stdev

from accounting.run_record import NO_MONEY, RunRecord


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Runs that share their settings."""

    name: str
    """The settings, such as "batch=64, precision=bf16"."""
    runs: int
    """How many runs."""
    average_usd: Decimal
    """Mean cost of a run."""
    quality: float
    """Mean of the quality metric."""
    spread: float | None
    """Standard deviation of the metric between the runs; None for one run."""
    dominated_by: str | None
    """The cheapest configuration that is at least as good and costs no more; None on the front."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Configurations, the cheapest first."""

    metric: str
    """The quality metric."""
    higher_is_better: bool
    """Whether more of it is better."""
    configurations: tuple[Configuration, ...]
    """All configurations with the metric."""
    left_out: int
    """Runs without a finite value of the metric."""

    @property
    def front(self) -> tuple[Configuration, ...]:
        """Configurations that none dominates: each costs more and is better than the one before."""
        return tuple(c for c in self.configurations if c.dominated_by is None)


def compare(
    runs: Iterable[RunRecord],
    *,
    by: Sequence[str],
    metric: str,
    higher_is_better: bool = True,
) -> Comparison:
    """Compares configurations by mean cost and mean quality.

    A configuration is dominated by one that costs no more and is at least as good, and is not its
    equal in both.

    Args:
        runs: The runs.
        by: What makes a configuration: "param:NAME", "tag:NAME", or one of experiment, agent, model
            and priority.
        metric: Name of the quality metric.
        higher_is_better: False for a loss.

    Raises:
        ValueError: no run has the metric, `by` is empty or a dimension is unknown.
    """
    if not by:
        raise ValueError("by is empty; name what makes a configuration, such as param:batch_size")
    members: dict[str, list[RunRecord]] = {}
    left_out = 0
    for run in runs:
        if not isfinite(run.metrics.get(metric, float("nan"))):
            left_out += 1
            continue
        name = ", ".join(f"{d.rpartition(':')[2]}={run.value(d)}" for d in by)
        members.setdefault(name, []).append(run)
    if not members:
        raise ValueError(f"metric is {metric!r}, which no run has; name one that was logged")
    sign = 1 if higher_is_better else -1
    figures = {
        name: (
            sum((run.usd for run in group), NO_MONEY) / len(group),
            fmean(run.metrics[metric] for run in group),
        )
        for name, group in members.items()
    }
    ordered = sorted(figures, key=lambda name: (figures[name][0], -sign * figures[name][1], name))
    found: list[Configuration] = []
    for name in ordered:
        usd, quality = figures[name]
        values = [run.metrics[metric] for run in members[name]]
        found.append(
            Configuration(
                name=name,
                runs=len(values),
                average_usd=usd,
                quality=quality,
                spread=stdev(values) if len(values) > 1 else None,
                dominated_by=_dominator(found, usd, sign * quality, sign),
            )
        )
    return Comparison(
        metric=metric,
        higher_is_better=higher_is_better,
        configurations=tuple(found),
        left_out=left_out,
    )


def _dominator(
    cheaper: Sequence[Configuration], usd: Decimal, goodness: float, sign: int
) -> str | None:
    """The first of the configurations that cost no more that is as good, and not an equal."""
    for other in cheaper:
        better = sign * other.quality
        if better > goodness or (better == goodness and other.average_usd < usd):
            return other.name
    return None

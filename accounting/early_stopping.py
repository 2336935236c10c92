"""Where a run could have stopped: a patience rule replayed on the history of its metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from accounting.bounds import at_least_one, not_negative


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """Where the rule would have stopped the run."""

    step: int
    """Step at which it stops."""
    best_step: int
    """Step of the best value until then."""
    best_value: float
    """The best value until then: the model that is kept."""
    given_up: float
    """How much better the best value of the whole run is; 0 when nothing is given up."""


@dataclass(frozen=True, kw_only=True)
class MetricHistory:
    """Values of one metric over a run, and the rule that decides when it has stopped improving."""

    name: str
    """Name of the metric, such as "val_loss"."""
    values: Sequence[tuple[int, float]]
    """Step and value of each evaluation, in order of steps."""
    higher_is_better: bool = False
    """Whether the metric rises as the model gets better."""
    patience: int = 3
    """Evaluations without improvement after which the rule stops."""
    least_gain: float = 0.0
    """A smaller gain counts as none."""

    def __post_init__(self) -> None:
        """Refuses steps out of order and rules that cannot decide."""
        at_least_one("patience", self.patience)
        not_negative("least_gain", self.least_gain)
        steps = [step for step, _ in self.values]
        if steps != sorted(set(steps)):
            raise ValueError(f"values of {self.name} are not in order of steps; sort them")

        if not any(isfinite(value) for _, value in self.values):
            raise ValueError(f"values of {self.name} hold no number; leave the history out")

    def early_stop(self) -> EarlyStop | None:
        """Replays the rule; None when it would not have stopped before the last evaluation.

        >>> losses = [(100, 0.9), (200, 0.5), (300, 0.51), (400, 0.52), (500, 0.53), (600, 0.6)]
        >>> MetricHistory(name="val_loss", values=losses).early_stop().step
        500
        """
        sign = -1.0 if self.higher_is_better else 1.0
        best_step, best, waited = 0, inf, 0
        for step, value in self.values[:-1]:
            if sign * value < best - self.least_gain:
                best_step, best, waited = step, sign * value, 0
            else:
                waited += 1  # a value that is not a number never improves
            if waited >= self.patience and best < inf:
                reached = [sign * value for _, value in self.values if isfinite(value)]
                return EarlyStop(
                    step=step,
                    best_step=best_step,
                    best_value=sign * best,
                    given_up=best - min(reached),
                )
        return None

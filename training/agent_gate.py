"""Decides whether a tuned agent may be promoted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a model may be promoted, and why."""

    promote: bool
    """True where every condition holds."""

    reasons: tuple[str, ...] = field(default=())
    """The conditions that do not hold, or what was compared where all do."""


def decide(
    metrics: Mapping[str, float],
    *,
    exact_call_accuracy: float,
    false_call_rate: float,
    champion: Mapping[str, float] | None = None,
) -> Decision:
    """Holds a model's metrics against thresholds and against the champion.

    Args:
        metrics: `AgentEvaluation.metrics()` of the new model.
        exact_call_accuracy: The least accuracy that is accepted.
        false_call_rate: The highest rate that is accepted.
        champion: Metrics of the champion on the same test sets, or None where there is none.
    """
    limits = [
        ("exact_call_accuracy", exact_call_accuracy, 1, "the threshold"),
        ("false_call_rate", false_call_rate, -1, "the threshold"),
    ]
    for name, _, sign, _ in list(limits):
        if champion is not None and name in champion:
            limits.append((name, champion[name], sign, "the champion's"))
    against, passed = [], []
    for name, limit, sign, whose in limits:
        value = metrics.get(name, math.nan)
        if math.isnan(value):
            against.append(f"{name} was not measured; the test set has no example for it")
        elif (value - limit) * sign < 0:
            side = "below" if sign > 0 else "above"
            against.append(f"{name} {value:.4f} is {side} {whose} {limit:.4f}")
        else:
            passed.append(f"{name} {value:.4f} holds {whose} {limit:.4f}")
    unique = tuple(dict.fromkeys(against))
    return Decision(promote=not unique, reasons=unique or tuple(passed))

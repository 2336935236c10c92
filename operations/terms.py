"""Budget, deadline, priority and purchase: from options to inputs, and back to what holds.

A workflow cannot change its own priority or purchase: they are labels and an option of the
execution. So a launch sets those, and tells the workflow the same through inputs of these names.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from operations.literals import plain
from operations.plans import Plan

PRIORITIES = ("urgent", "normal", "background")
PURCHASES = ("on-demand", "spot")

_WITHOUT_INPUT = ("priority", "purchase")
"""Terms that hold through the execution even where no input takes them."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run may cost, until when, how urgent it is and on which machines."""

    budget_usd: Decimal | None = None
    """The most that the run may cost, or None."""

    deadline: datetime | None = None
    """When it must be done, or None."""

    priority: str | None = None
    """One of PRIORITIES, or None for what the plan says."""

    purchase: str | None = None
    """One of PURCHASES, or None for what the plan says."""

    def values(self) -> dict[str, Any]:
        """The terms that were given, as plain values of the inputs of the same names."""
        given = {
            "budget_usd": None if self.budget_usd is None else float(self.budget_usd),
            "deadline": None if self.deadline is None else self.deadline.isoformat(),
            "priority": self.priority,
            "purchase": self.purchase,
        }
        return {name: value for name, value in given.items() if value is not None}

    def into(
        self, values: Mapping[str, Any], *, inputs: Container[str], owner: str
    ) -> dict[str, Any]:
        """Adds the terms to the values of a workflow's inputs.

        Args:
            values: what was given as inputs.
            inputs: names of the workflow's inputs.
            owner: the workflow's name, for messages.

        Raises:
            ValueError: An input says otherwise, or nothing would hold a budget or deadline.
        """
        merged = dict(values)
        for name, value in self.values().items():
            if name in merged and str(merged[name]) != str(value):
                raise ValueError(
                    f"--input {name}={merged[name]} contradicts {value!r} of the option"
                )
            if name in inputs:
                merged[name] = value
            elif name not in _WITHOUT_INPUT:
                raise ValueError(
                    f"{owner} takes no {name}, so nothing would hold it: leave the option out"
                )
        return merged


def in_force(plan: Plan, inputs: Mapping[str, Any], name: str) -> Any:
    """The value of an input that the workflow will see: as given, as fixed, or by default."""
    if name in inputs:
        return plain(inputs[name])
    if name in plan.fixed:
        return plain(plan.fixed[name])
    return plain(plan.parameters[name].default) if name in plan.parameters else None

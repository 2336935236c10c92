"""What an agent should do about an alert: look first, then mend it or call a person."""

from collections.abc import Iterable
from dataclasses import dataclass

from training.alerts import Alert, Command, Section
from training.command_risk import Risk
from training.function_calls import ToolCall
from training.tools import Toolbox

_SAFE = (Risk.READ, Risk.CHANGE)


@dataclass(frozen=True, kw_only=True)
class AlertPlan:
    """The calls that answer one alert."""

    alert: Alert
    """The alert."""

    investigate: ToolCall | None
    """The first look, or None where the runbook names no command that only reads."""

    resolve: ToolCall
    """The first safe remedy, or the call of a person."""

    escalated_for: str | None
    """Why `resolve` calls a person (a key of the escalation's reasons), or None."""

    alternatives: tuple[ToolCall, ...]
    """Every other safe call that the runbook gives for this alert."""

    unmapped: tuple[Command, ...]
    """Commands that no tool stands for."""

    destructive: tuple[Command, ...]
    """Commands that only a person may run."""


def plan_alert(alert: Alert, toolbox: Toolbox) -> AlertPlan:
    """Chooses the calls for one alert.

    Destructive and unknown commands never become calls. The resolution's first command that is
    safe and that a rule maps is the remedy; without one, the alert goes to a person.
    """
    calls: dict[int, ToolCall] = {}
    for at, command in enumerate(alert.commands):
        if command.line.risk in _SAFE:
            call = toolbox.call_for(command.line, alert=alert.name, severity=alert.severity)
            if call is not None:
                calls[at] = call
    resolution = [at for at in calls if alert.commands[at].section is Section.RESOLUTION]
    looks = [
        at
        for at in calls
        if alert.commands[at].section is not Section.RESOLUTION
        and alert.commands[at].line.risk is Risk.READ
    ]
    destructive = tuple(c for c in alert.commands if c.line.risk is Risk.DESTRUCTIVE)
    reason = None if resolution else _reason(alert, destructive)
    resolve = calls[resolution[0]] if reason is None else _escalation(alert, toolbox, reason)
    investigate = calls[looks[0]] if looks else None
    return AlertPlan(
        alert=alert,
        investigate=investigate,
        resolve=resolve,
        escalated_for=reason,
        alternatives=_others(calls.values(), (resolve, investigate)),
        unmapped=tuple(
            command
            for at, command in enumerate(alert.commands)
            if at not in calls and command.line.risk is not Risk.DESTRUCTIVE
        ),
        destructive=destructive,
    )


def _reason(alert: Alert, destructive: tuple[Command, ...]) -> str:
    in_resolution = {id(command) for command in alert.commands_of(Section.RESOLUTION)}
    only_harm = any(id(command) in in_resolution for command in destructive)
    return "destructive_only" if only_harm else "no_safe_command"


def _escalation(alert: Alert, toolbox: Toolbox, reason: str) -> ToolCall:
    return toolbox.escalation_call(alert=alert.name, severity=alert.severity, reason=reason)


def _others(calls: Iterable[ToolCall], taken: tuple[ToolCall | None, ...]) -> tuple[ToolCall, ...]:
    others: list[ToolCall] = []
    for call in calls:
        if call not in taken and call not in others:
            others.append(call)
    return tuple(others)

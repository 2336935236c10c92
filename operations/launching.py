"""From what a person asks for to one execution request: typed inputs, labels and purchase."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import yaml

from operations.exits import Exit, RemoteError, Unreachable
from operations.literals import Upload, literal, nearest, plain, type_name
from operations.plans import Plan
from operations.remote import Flyte

Priority = Literal["urgent", "normal", "background"]
Purchase = Literal["on-demand", "spot"]
PRIORITIES = ("urgent", "normal", "background")
PURCHASES = ("on-demand", "spot")

PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
QUEUES = {"urgent": "general", "normal": "general", "background": "background"}
"""Kueue's local queue for each priority, as the chart makes them."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


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
        """The terms that were given, as values of the workflow inputs of the same names."""
        given = {
            "budget_usd": None if self.budget_usd is None else str(self.budget_usd),
            "deadline": None if self.deadline is None else self.deadline.isoformat(),
            "priority": self.priority,
            "purchase": self.purchase,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One execution, ready to be created."""

    plan: Plan
    """What is executed."""

    name: str
    """Name of the execution; creating it twice makes one."""

    inputs: Mapping[str, Any]
    """flyteidl Literals by input name; the server adds the plan's defaults."""

    priority: str | None
    """The priority that holds, or None where the workflow knows none."""

    purchase: str | None
    """The purchase that holds, or None where the workflow knows none."""

    labels: Mapping[str, str]
    """All labels of the execution: Flyte replaces the plan's labels by these."""

    tags: tuple[str, ...] = ()
    """Words by which the console finds the execution."""

    envs: Mapping[str, str]
    """Environment variables of its tasks."""

    @property
    def interruptible(self) -> bool | None:
        """Spot is Flyte's interruptible option; None leaves it to the tasks."""
        return None if self.purchase is None else self.purchase == "spot"


def new_name() -> str:
    """A name for an execution: chosen here, so that a repeated request cannot start a second."""
    return f"f{uuid.uuid4().hex[:19]}"


def pairs(items: list[str], *, option: str) -> dict[str, str]:
    """Splits `key=value` texts.

    >>> pairs(["epochs=3", "note=a=b"], option="--input")
    {'epochs': '3', 'note': 'a=b'}
    """
    found: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{option} {item!r} is not key=value")
        if key in found:
            raise ValueError(f"{option} {key} is given twice")
        found[key.strip()] = value
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Gathers dotted names into mappings, so that one field of a mapping can be set alone.

    >>> nested({"config.epochs": "3", "config.optimizer.name": "adam", "seed": "7"})
    {'config': {'epochs': 3, 'optimizer': {'name': 'adam'}}, 'seed': '7'}
    """
    gathered: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        place = gathered
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"input {part!r} is given both whole and by field")  # noqa: TRY004 - user input
        if last in place:
            raise ValueError(f"input {last!r} is given both whole and by field")
        place[last] = yaml.safe_load(value) if path and isinstance(value, str) else value
    return gathered


def build(
    plan: Plan,
    *,
    values: Mapping[str, Any],
    terms: Terms,
    name: str | None,
    queue: str | None,
    tags: tuple[str, ...],
    envs: Mapping[str, str],
    upload: Upload,
) -> Request:
    """Checks everything that was given against the plan and makes the request.

    Args:
        plan: what is to be executed.
        values: inputs by name, as text or as a YAML file holds them.
        terms: budget, deadline, priority and purchase.
        name: name of the execution, or None for a fresh one.
        queue: Kueue's local queue, or None for that of the priority.
        tags: words by which the console finds the execution.
        envs: environment variables of the tasks.
        upload: copies a local input file to Flyte's store.

    Raises:
        RemoteError: An input is unknown, missing, fixed or of the wrong type.
        ValueError: `name` is not a name of an execution, or two options contradict each other.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(
            f"--name {name!r} may only have lower-case letters, digits and dashes, begins with "
            "a letter and has at most 63"
        )
    given = _with_terms(plan, dict(values), terms)
    inputs = {key: _input(plan, key, value, upload) for key, value in given.items()}
    for key, parameter in plan.parameters.items():
        if parameter.required and key not in inputs:
            wanted = type_name(parameter.var.type)
            raise RemoteError(
                f"{plan.name} needs the input {key!r} ({wanted}): add --input {key}=...",
                code=Exit.USAGE,
            )
    priority = _term(plan, inputs, "priority", terms.priority, PRIORITIES)
    purchase = _term(plan, inputs, "purchase", terms.purchase, PURCHASES)
    labels = dict(plan.labels)
    if priority is not None:
        labels |= {PRIORITY_LABEL: priority, QUEUE_LABEL: queue or QUEUES[priority]}
    return Request(
        plan=plan,
        name=name or new_name(),
        inputs=inputs,
        priority=priority,
        purchase=purchase,
        labels=labels,
        tags=tags,
        envs=dict(envs),
    )


def _with_terms(plan: Plan, values: dict[str, Any], terms: Terms) -> dict[str, Any]:
    """Adds the terms as inputs; a priority or purchase also works where no input takes it."""
    for name, value in terms.values().items():
        if str(values.get(name, value)) != str(value):
            raise ValueError(f"--input {name}={values[name]} contradicts {value!r} of the option")
        if name in plan.parameters:
            values[name] = value
        elif name in plan.fixed:
            if plain(plan.fixed[name]) != value:
                held = plain(plan.fixed[name])
                raise ValueError(
                    f"{plan.name} fixes {name} to {held!r}; launch its workflow instead"
                )
            values.pop(name, None)
        elif name in ("budget_usd", "deadline"):
            raise ValueError(
                f"{plan.name} takes no {name}, so nothing would hold it: leave the option out"
            )
    return values


def _input(plan: Plan, name: str, value: Any, upload: Upload) -> Any:
    if name in plan.fixed:
        raise RemoteError(
            f"{plan.name} fixes the input {name!r} to {plain(plan.fixed[name])!r}",
            code=Exit.USAGE,
        )
    parameter = plan.parameters.get(name)
    if parameter is None:
        raise RemoteError(
            f"{plan.name} has no input {name!r}{nearest(name, plan.parameters)}", code=Exit.USAGE
        )
    default = parameter.default if parameter.HasField("default") else None
    try:
        return literal(value, parameter.var.type, default=default, upload=upload)
    except ValueError as error:
        raise RemoteError(f"input {name!r} {error}", code=Exit.USAGE) from error


def _term(
    plan: Plan, inputs: Mapping[str, Any], name: str, option: str | None, allowed: tuple[str, ...]
) -> str | None:
    """The value that holds: the option, else the input, else the plan's own."""
    if option is None:
        if name in inputs:
            option = plain(inputs[name])
        elif name in plan.fixed:
            option = plain(plan.fixed[name])
        elif name in plan.parameters:
            option = plain(plan.parameters[name].default)
    if option is not None and option not in allowed:
        raise ValueError(f"{name} is {option!r}; it is one of {', '.join(allowed)}")
    return option


def create(flyte: Flyte, request: Request) -> None:
    """Creates the execution; one of the same name and plan that exists already is left as it is.

    Raises:
        RemoteError: Flyte refused, or the name belongs to an execution of another plan.
    """
    from flytekit.exceptions.user import FlyteEntityNotExistException
    from flytekit.models.common import Labels
    from flytekit.models.literals import Literal as LiteralModel
    from flytekit.tools.translator import Options

    try:
        with flyte.calls():
            execution = flyte.remote.execute(
                request.plan.entity,
                inputs={k: LiteralModel.from_flyte_idl(v) for k, v in request.inputs.items()},
                execution_name=request.name,
                options=Options(labels=Labels(dict(request.labels))),
                interruptible=request.interruptible,
                envs=dict(request.envs) or None,
                tags=list(request.tags) or None,
            )
    except FlyteEntityNotExistException as error:
        flyte.check_place()
        raise RemoteError(f"{request.plan.name} is gone: try again", code=Exit.USAGE) from error
    except Unreachable as error:
        hint = f"it may have started: see oppen status {request.name}"
        raise Unreachable(f"{error}; {hint}") from error
    if execution.spec.launch_plan.name != request.plan.name:
        raise RemoteError(
            f"an execution called {request.name} of {execution.spec.launch_plan.name} exists: "
            "pass another --name",
            code=Exit.USAGE,
        )

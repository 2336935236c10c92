"""From what a person asks for to one execution request: typed inputs, labels and purchase."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operations.exits import Exit, RemoteError, Unreachable
from operations.literals import Upload, literal, plain, type_name
from operations.plans import Plan
from operations.remote import Flyte
from operations.terms import PRIORITIES, PURCHASES, Terms, in_force
from operations.texts import nearest, parse_text

PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
QUEUES = {"urgent": "general", "normal": "general", "background": "background"}
"""Kueue's local queue for each priority, as the chart makes them."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


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
        place[last] = parse_text(value) if path and isinstance(value, str) else value
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
    given = terms.into(
        values,
        inputs=plan.parameters,
        owner=plan.name,
    )
    if plan.kickoff in plan.parameters:  # a launch by hand is its own kickoff
        given.setdefault(plan.kickoff, datetime.now(UTC))
    inputs = {key: _input(plan, key, value, upload) for key, value in given.items()}
    for key, parameter in plan.parameters.items():
        if parameter.required and key not in inputs:
            wanted = type_name(parameter.var.type)
            raise RemoteError(
                f"{plan.name} needs the input {key!r} ({wanted}): add --input {key}=...",
                code=Exit.USAGE,
            )
    priority = _settle(plan, inputs, "priority", terms.priority, PRIORITIES)
    purchase = _settle(plan, inputs, "purchase", terms.purchase, PURCHASES)
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


def _settle(
    plan: Plan, inputs: Mapping[str, Any], name: str, option: str | None, allowed: tuple[str, ...]
) -> str | None:
    """The value of a term that holds; an option may not say other than what the plan fixes."""
    held = in_force(plan, inputs, name)
    if None not in (held, option) and held != option:
        raise ValueError(f"{plan.name} fixes {name} to {held!r}; launch its workflow instead")
    settled = option or held
    if settled is not None and settled not in allowed:
        raise ValueError(f"{name} is {settled!r}; it is one of {', '.join(allowed)}")
    return settled


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

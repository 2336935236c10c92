"""Finds a launch plan on the server by the name that a person types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from operations.exits import Exit, RemoteError
from operations.remote import Flyte
from operations.texts import nearest

PAGE = 100
"""Entries asked for at a time when the server is listed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A launch plan as the server holds it; every workflow has one of its own name."""

    name: str
    """Full name, such as workflows.mnist.mnist_pipeline."""

    version: str
    """Version that it was registered with, the git commit."""

    workflow: str
    """Full name of the workflow that it starts."""

    parameters: Mapping[str, Any]
    """flyteidl Parameters by input name: type, default, whether it must be given."""

    fixed: Mapping[str, Any]
    """flyteidl Literals that the plan sets for good, by input name."""

    kickoff: str
    """The input that a schedule fills with its time, or ""."""

    labels: Mapping[str, str]
    """Labels that its executions carry."""

    entity: Any
    """flytekit's FlyteLaunchPlan, which FlyteRemote executes."""


def plan_names(flyte: Flyte) -> Iterator[str]:
    """The names of all launch plans in the project and domain."""
    from flyteidl.admin.common_pb2 import NamedEntityIdentifierListRequest

    token = ""
    while True:
        request = NamedEntityIdentifierListRequest(
            project=flyte.project, domain=flyte.domain, limit=PAGE, token=token
        )
        with flyte.calls():
            answer = flyte.admin.list_launch_plan_ids_paginated(request)
        yield from (identifier.name for identifier in answer.entities)
        token = answer.token
        if not token:
            return


def full_name(name: str, known: list[str]) -> str:
    """The registered name that `name` means: itself, or the one that ends with it.

    >>> full_name("mnist", ["workflows.mnist.mnist", "nightly"])
    'workflows.mnist.mnist'

    Raises:
        RemoteError: None or several fit; the message suggests what does.
    """
    if name in known:
        return name
    fitting = [candidate for candidate in known if candidate.endswith(f".{name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RemoteError(f"{name!r} is ambiguous: {', '.join(fitting)}", code=Exit.USAGE)
    short = {candidate.rpartition(".")[2] for candidate in known}
    raise RemoteError(
        f"no workflow or launch plan is called {name!r}{nearest(name, short | set(known))}",
        code=Exit.USAGE,
    )


def find_plan(flyte: Flyte, name: str, *, version: str | None = None) -> Plan:
    """Looks a launch plan up.

    Args:
        flyte: where to look.
        name: the name of a launch plan or workflow, in full or its last part.
        version: None takes the active version, or the newest when none is active.

    Raises:
        RemoteError: There is none of that name or version, or the project does not exist.
    """
    from flytekit.exceptions.user import FlyteEntityNotExistException

    known = list(plan_names(flyte))
    if not known:
        flyte.check_place()
        raise RemoteError(
            f"nothing is registered in {flyte.project}/{flyte.domain}: run oppen register",
            code=Exit.USAGE,
        )
    name = full_name(name, known)
    try:
        with flyte.calls():
            entity = None if version else flyte.remote.fetch_active_launchplan(name=name)
            entity = entity or flyte.remote.fetch_launch_plan(name=name, version=version)
    except FlyteEntityNotExistException as error:
        raise RemoteError(
            f"{name} has no version {version!r} in {flyte.project}/{flyte.domain}",
            code=Exit.USAGE,
        ) from error
    spec = entity.to_flyte_idl()
    return Plan(
        name=name,
        version=entity.id.version,
        workflow=spec.workflow_id.name,
        parameters=dict(spec.default_inputs.parameters),
        fixed=dict(spec.fixed_inputs.literals),
        kickoff=spec.entity_metadata.schedule.kickoff_time_input_arg,
        labels=dict(spec.labels.values),
        entity=entity,
    )

"""What a launch is expected to cost: the durations of earlier runs at the rates from now on."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from accounting.bill import bill
from accounting.rates import RateCard
from accounting.usage import Attempt, Resources
from operations.attempts import Records, task_resources
from operations.launching import Request
from operations.remote import Flyte

HISTORY = 5
"""Successful runs of the same workflow that an expectation rests on, at most."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Cost and end of a launch, if it goes as the runs before it."""

    usd: Decimal | None
    """Cost of all tasks at the rates in force while they run, or None where nobody knows."""

    seconds: float | None
    """From the start of the first task to the end of the last, or None where nobody knows."""

    basis: str
    """Where the durations come from, or why there is no price, for people."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One task at one place of the workflow, as it went or as it is expected to go."""

    task: str
    node: str
    offset: float
    seconds: float
    resources: Resources


def expect(
    flyte: Flyte, request: Request, *, seconds: float | None, card: RateCard, now: datetime
) -> Expectation:
    """Prices a launch from now on, as far as anything tells how long it will take.

    Args:
        flyte: where the plan and its history are.
        request: what will be launched.
        seconds: how long the dearest task runs, when the person says so; the other tasks are then
            left out. None takes the medians of earlier runs.
        card: the rates.
        now: when it would start.

    Raises:
        RatesError: The card does not price a GPU that the plan asks for.
    """
    templates = {template.id.name: template for template in _templates(flyte, request)}
    resources = {name: task_resources(template) for name, template in templates.items()}
    if seconds is not None:
        steps = [_dearest(resources, seconds, card, now)] if resources else []
        basis = "the given time on its dearest task"
    else:
        runs = list(_runs(flyte, request))
        steps = _medians(runs, resources)
        basis = f"median of {len(runs)} earlier run{'s' if len(runs) != 1 else ''}"
    if not steps:
        reason = "no run of it has succeeded yet (say --seconds)"
        return Expectation(usd=None, seconds=None, basis=reason)
    attempts = [
        Attempt(
            task=f"{step.node}.{step.task}",
            number=0,
            start=now + timedelta(seconds=step.offset),
            end=now + timedelta(seconds=step.offset + step.seconds),
            resources=step.resources,
            spot=_spot(request, templates.get(step.task)),
            priority=request.priority or "normal",
        )
        for step in steps
    ]
    return Expectation(
        usd=bill(attempts, card).total_cost_usd,
        seconds=max(step.offset + step.seconds for step in steps),
        basis=basis,
    )


def _spot(request: Request, template: Any) -> bool:
    if request.interruptible is not None:
        return request.interruptible
    return template is not None and bool(template.metadata.interruptible)


def _templates(flyte: Flyte, request: Request) -> Iterator[Any]:
    """The task templates of the plan's workflow, sub-workflows included."""
    from flyteidl.admin.common_pb2 import ObjectGetRequest

    wanted = ObjectGetRequest(id=request.plan.entity.workflow_id.to_flyte_idl())
    with flyte.calls():
        workflow = flyte.admin.get_workflow(wanted)
    for task in workflow.closure.compiled_workflow.tasks:
        yield task.template


def _dearest(
    resources: dict[str, Resources], seconds: float, card: RateCard, now: datetime
) -> _Step:
    name = max(resources, key=lambda task: card.usd_per_hour(resources[task], at=now))
    return _Step(task=name, node="", offset=0, seconds=seconds, resources=resources[name])


def _runs(flyte: Flyte, request: Request) -> Iterator[list[_Step]]:
    """The steps of the newest successful runs of the same workflow, in any version."""
    from flyteidl.admin.common_pb2 import NamedEntityIdentifier, ResourceListRequest, Sort

    wanted = ResourceListRequest(
        id=NamedEntityIdentifier(project=flyte.project, domain=flyte.domain),
        limit=HISTORY,
        filters=f"eq(workflow.name,{request.plan.workflow})+eq(phase,SUCCEEDED)",
        sort_by=Sort(key="created_at", direction=Sort.DESCENDING),
    )
    with flyte.calls():
        found = flyte.admin.list_executions_paginated(wanted).executions
    records = Records(flyte)
    # A run takes one call for each of its nodes; the runs are read side by side.
    with ThreadPoolExecutor(HISTORY) as pool:
        runs = list(pool.map(lambda execution: list(records.tries(execution.id)), found))
    for tries in runs:
        begin = min((t.start for t in tries if t.start is not None), default=None)
        steps = [
            _Step(
                task=t.task,
                node=t.node,
                offset=(t.start - begin).total_seconds(),
                seconds=t.seconds,
                resources=t.resources,
            )
            for t in tries
            if t.phase == "SUCCEEDED" and t.start and begin and t.seconds is not None
        ]
        if steps:
            yield steps


def _medians(runs: list[list[_Step]], resources: dict[str, Resources]) -> list[_Step]:
    """One step per task and node; the resources are those it has now, where it still exists."""
    by_place: dict[tuple[str, str], list[_Step]] = defaultdict(list)
    for run in runs:
        for step in run:
            by_place[step.task, step.node].append(step)
    return [
        _Step(
            task=task,
            node=node,
            offset=median(step.offset for step in steps),
            seconds=median(step.seconds for step in steps),
            resources=resources.get(task, steps[0].resources),
        )
        for (task, node), steps in by_place.items()
    ]

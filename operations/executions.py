"""`oppen executions | status | logs | cancel`: look at what runs on Flyte, and stop it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.execution import (
    FINISHED,
    console_address,
    failure,
    find_execution,
    phase_name,
)
from operations.exits import Exit, RemoteError, one_line_errors
from operations.launch import ConfigOption, DomainOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from accounting.bill import Bill
    from operations.attempts import Try
    from operations.remote import Flyte

NameArgument = Annotated[str, typer.Argument(help="Name of the execution.", metavar="EXECUTION")]


class PhaseChoice(StrEnum):
    """States of an execution."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed-out"


def executions(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    phase: Annotated[PhaseChoice | None, typer.Option(help="Only those in this state.")] = None,
    workflow: Annotated[
        str | None, typer.Option(help="Only those of workflows or plans whose name has this.")
    ] = None,
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """List executions, newest first.

    Example: `oppen executions --phase running`
    """
    from operations.remote import connect

    with one_line_errors():
        flyte = connect(config=config, project=project, domain=domain)
        found = _newest(flyte, limit=limit, phase=phase, workflow=workflow)
        if not found:
            flyte.check_place()
    rows = [_row(execution) for execution in found]
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    elif rows:
        _table(rows)
    else:
        typer.echo("none")


def status(
    name: NameArgument,
    rates: Annotated[
        Path | None, typer.Option(help="Rate card.", envvar="OPPEN_RATES", show_envvar=True)
    ] = None,
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one execution: its attempts, whether each was really on spot, and what each cost.

    Example: `oppen status f3a9c1d27be04415a6f2`
    """
    from accounting.bill import bill
    from accounting.rates import RateCard, RatesError
    from operations.attempts import Records, billable
    from operations.remote import connect

    with one_line_errors():
        flyte = connect(config=config, project=project, domain=domain)
        execution = _execution(flyte, name)
        tries = list(Records(flyte).tries(execution.id))
        asked = _asked(execution)
        labels = dict(execution.spec.labels.values)
        attempts = billable(tries, execution=name, labels=labels, asked=asked)
        card = RateCard.load(rates)
        try:
            cost, unpriced = bill(attempts, card), ""
        except RatesError as error:
            cost, unpriced = None, str(error)
    if as_json:
        record = _row(execution) | {
            "error": failure(execution),
            "console": console_address(flyte, name),
            "attempts": [_try_row(item) for item in tries],
            "bill": None if cost is None else cost.to_json(),
            "unpriced": unpriced,
        }
        typer.echo(json.dumps(record, default=str))
        return
    _show(flyte, execution, tries, cost, unpriced)


def logs(
    name: NameArgument,
    node: Annotated[str | None, typer.Option(help="Only this node.")] = None,
    namespace: Annotated[
        str, typer.Option(help="Kubernetes namespace of the pods, for the kubectl command.")
    ] = "ml-training",
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where the logs of an execution are, and what its tasks died of.

    Flyte keeps addresses of logs, not logs: without a log plugin in the cluster it has none, and
    the kubectl command shows what the pods that still exist have written.

    Example: `oppen logs f3a9c1d27be04415a6f2 --node n2`
    """
    from operations.attempts import Records
    from operations.remote import connect

    with one_line_errors():
        flyte = connect(config=config, project=project, domain=domain)
        execution = _execution(flyte, name)
        tries = [t for t in Records(flyte).tries(execution.id) if node in (None, t.node)]
        if node is not None and not tries:
            raise ValueError(f"execution {name} has run nothing in a node {node!r}")
    if as_json:
        typer.echo(json.dumps([_try_row(item) for item in tries], default=str))
        return
    for item in tries:
        typer.echo(f"{item.node} {item.task} #{item.number} {item.phase}")
        for label, address in item.logs:
            typer.echo(f"  {label}: {address}")
        for line in item.error.strip().splitlines():
            typer.echo(f"  {line}")
    typer.echo(kubectl_logs(namespace, name, node))


def cancel(
    name: NameArgument,
    cause: Annotated[str, typer.Option(help="Why; it is kept.")] = "cancelled with oppen cancel",
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop an execution; one that has ended is left as it is.

    Example: `oppen cancel f3a9c1d27be04415a6f2 --cause "wrong data"`
    """
    from flyteidl.admin.execution_pb2 import ExecutionTerminateRequest

    from operations.remote import connect

    with one_line_errors():
        flyte = connect(config=config, project=project, domain=domain)
        execution = _execution(flyte, name)
        ended = phase_name(execution) in FINISHED
        if not ended:
            with flyte.calls():
                request = ExecutionTerminateRequest(id=execution.id, cause=cause)
                flyte.admin.terminate_execution(request)
    said = f"had ended: {phase_name(execution)}" if ended else "cancelled"
    typer.echo(json.dumps({"execution": name, "cancelled": not ended}) if as_json else said)


def kubectl_logs(namespace: str, name: str, node: str | None) -> str:
    """The kubectl command for the pods of an execution, by Flyte's own labels.

    >>> kubectl_logs("ml-training", "f1", "n2")
    'kubectl logs -n ml-training -l execution-id=f1,node-id=n2 --all-containers --prefix'
    """
    labels = f"execution-id={name}" + (f",node-id={node}" if node else "")
    return f"kubectl logs -n {namespace} -l {labels} --all-containers --prefix"


def _newest(
    flyte: "Flyte", *, limit: int, phase: PhaseChoice | None, workflow: str | None
) -> list[Any]:
    from flyteidl.admin.common_pb2 import NamedEntityIdentifier, ResourceListRequest, Sort

    filters = []
    if phase is not None:
        filters.append(f"value_in(phase,{phase.name})")
    if workflow is not None:
        filters.append(f"contains(launch_plan.name,{workflow})")
    request = ResourceListRequest(
        id=NamedEntityIdentifier(project=flyte.project, domain=flyte.domain),
        filters="+".join(filters),
        sort_by=Sort(key="created_at", direction=Sort.DESCENDING),
    )
    found: list[Any] = []
    while len(found) < limit:
        request.limit = min(100, limit - len(found))
        with flyte.calls():
            answer = flyte.admin.list_executions_paginated(request)
        found += answer.executions
        request.token = answer.token
        if not request.token:
            break
    return found


def _execution(flyte: "Flyte", name: str) -> Any:
    execution = find_execution(flyte, name)
    if execution is None:
        flyte.check_place()
        raise RemoteError(
            f"no execution is called {name!r} in {flyte.project}/{flyte.domain}: see "
            "oppen executions",
            code=Exit.USAGE,
        )
    return execution


def _asked(execution: Any) -> str | None:
    """How the execution should have been bought; None where nobody said."""
    spec = execution.spec
    if not spec.HasField("interruptible"):
        return None
    return "spot" if spec.interruptible.value else "on-demand"


def _row(execution: Any) -> dict[str, Any]:
    from operations.launching import PRIORITY_LABEL

    closure = execution.closure
    started = closure.started_at.ToDatetime(UTC) if closure.HasField("started_at") else None
    return {
        "execution": execution.id.name,
        "launch_plan": execution.spec.launch_plan.name,
        "version": execution.spec.launch_plan.version,
        "phase": phase_name(execution),
        "started": None if started is None else started.isoformat(),
        "seconds": _seconds(closure, started),
        "priority": execution.spec.labels.values.get(PRIORITY_LABEL),
        "purchase": _asked(execution),
    }


def _seconds(closure: Any, started: datetime | None) -> float | None:
    if closure.duration.ToTimedelta():
        return float(closure.duration.ToTimedelta().total_seconds())
    return None if started is None else round((datetime.now(UTC) - started).total_seconds())


def _try_row(item: "Try") -> dict[str, Any]:
    return {
        "node": item.node,
        "task": item.task,
        "number": item.number,
        "phase": item.phase,
        "start": item.start and item.start.isoformat(),
        "end": item.end and item.end.isoformat(),
        "purchase": "spot" if item.spot else "on-demand",
        "resources": item.resources.to_record(),
        "error": item.error,
        "logs": [{"name": label, "address": address} for label, address in item.logs],
    }


def _show(
    flyte: "Flyte", execution: Any, tries: Sequence["Try"], cost: "Bill | None", unpriced: str
) -> None:
    row = _row(execution)
    typer.echo(f"{row['launch_plan']} at {row['version']}: {row['phase']}")
    if why := failure(execution):
        typer.echo(why)
    typer.echo(console_address(flyte, execution.id.name))
    amounts = iter([] if cost is None else cost.by_attempt.values())
    rows = []
    for item in tries:
        amount = None if item.seconds is None else next(amounts, None)
        rows.append(
            {
                "node": item.node,
                "task": item.task.rpartition(".")[2],
                "attempt": item.number,
                "phase": item.phase,
                "seconds": item.seconds,
                "purchase": "spot" if item.spot else "on-demand",
                "USD": None if amount is None else f"{amount:.6f}",
            }
        )
    if rows:
        _table(rows)
    if cost is None:
        typer.echo(f"cost so far: unknown, {unpriced}")
        return
    typer.echo(f"cost so far: {cost.total_cost_usd} USD, lost work {cost.lost_cost_usd} USD")
    for attempt in cost.surprises:
        typer.echo(f"{attempt.label} was {attempt.purchase}, not {attempt.asked}")


def _table(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)

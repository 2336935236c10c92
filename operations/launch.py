"""`oppen launch`: starts a workflow or launch plan by name, on Flyte or on this machine."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.exits import Exit, RemoteError, one_line_errors

if TYPE_CHECKING:
    from operations.execution import Pace
    from operations.launching import Request
    from operations.prices import Expectation
    from operations.remote import Flyte
    from operations.terms import Terms


class PriorityChoice(StrEnum):
    """Priorities of the rate card and of the cluster."""

    URGENT = "urgent"
    NORMAL = "normal"
    BACKGROUND = "background"


class PurchaseChoice(StrEnum):
    """How the machines are bought."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Flyte configuration file.", show_default=False)
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="Flyte project.", show_default=False)
]
DomainOption = Annotated[
    str | None, typer.Option("--domain", "-d", help="Flyte domain.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


def launch(
    name: Annotated[str, typer.Argument(help="Workflow or launch plan, in full or its last part.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="`name=value`; `name.field=value` sets one field."),
    ] = None,
    inputs_file: Annotated[
        Path | None, typer.Option(help="YAML or JSON mapping of inputs; `--input` overrides it.")
    ] = None,
    budget_usd: Annotated[
        str | None, typer.Option(help="The most that the run may cost, in USD.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="When it must be done: ISO time, or a span such as 6h.")
    ] = None,
    priority: Annotated[
        PriorityChoice | None, typer.Option(help="Sets Kueue's priority and queue labels.")
    ] = None,
    purchase: Annotated[
        PurchaseChoice | None, typer.Option(help="Spot makes the execution interruptible.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Expected time of the dearest task, to price it.")
    ] = None,
    rates: Annotated[
        Path | None, typer.Option(help="Rate card.", envvar="OPPEN_RATES", show_envvar=True)
    ] = None,
    force: Annotated[
        bool, typer.Option(help="Launch even when it will break budget or deadline.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="Version to launch; the active or newest one otherwise.")
    ] = None,
    execution_name: Annotated[
        str | None, typer.Option("--name", help="Name it; launching a name twice starts one run.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Kueue's local queue.", show_default="that of the priority")
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Tag of the execution.")] = None,
    envs: Annotated[
        list[str] | None, typer.Option("--env", help="`NAME=value` for the tasks.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it ends.")] = False,
    poll: Annotated[float, typer.Option(help="Seconds between looks while waiting.")] = 15,
    timeout: Annotated[
        str | None, typer.Option(help="Stop waiting after, such as 2h; the run goes on.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and price it; start nothing.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Run here with `pyflyte run`, without a server.")
    ] = False,
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a workflow or launch plan by name, priced first.

    Example: `oppen launch mnist_pipeline -i config.epochs=3 --purchase spot --budget-usd 2 --wait`
    """
    from operations.launching import build, create, nested, pairs
    from operations.literals import merged
    from operations.terms import Terms, in_force
    from operations.texts import duration

    with one_line_errors():
        terms = Terms(
            budget_usd=_money(budget_usd),
            deadline=_deadline(deadline),
            priority=priority and priority.value,
            purchase=purchase and purchase.value,
        )
        limit = None if timeout is None else duration(timeout).total_seconds()
        values = merged(_read(inputs_file), nested(pairs(inputs or [], option="--input")))
        if local:
            raise typer.Exit(_run_here(name, values, terms, dry_run=dry_run))

        from operations.execution import Pace, find_execution
        from operations.plans import find_plan
        from operations.remote import connect

        flyte = connect(config=config, project=project, domain=domain)
        plan = find_plan(flyte, name, version=version)
        make = partial(
            build,
            plan,
            values=values,
            terms=terms,
            queue=queue,
            tags=tuple(tags or ()),
            envs=pairs(envs or [], option="--env"),
        )
        request = make(name=execution_name, upload=lambda path: path.resolve().as_uri())
        known = execution_name is not None and find_execution(flyte, request.name) is not None
        expected = _price(flyte, request, seconds=seconds, rates=rates)
        partly = in_force(plan, request.inputs, "over_budget") == "train"
        if not (known or force or partly):
            _hold(expected, request)
        if not dry_run:
            request = make(name=request.name, upload=lambda path: _upload(flyte, path))
            create(flyte, request)
        verb = "would launch" if dry_run else "had launched" if known else "launched"
        record = _record(flyte, request, expected, dry_run=dry_run)
        if as_json and (dry_run or not wait):
            typer.echo(json.dumps(record, default=str))
        elif not as_json:
            _tell(record, verb=verb)
        if wait and not dry_run:
            pace = Pace(poll_seconds=poll, timeout_seconds=limit)
            raise typer.Exit(_follow(flyte, record, pace, as_json=as_json))


def _money(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"--budget-usd {text!r} is not an amount such as 2.50") from error
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"--budget-usd {text} must be more than nothing")
    return amount


def _deadline(text: str | None) -> datetime | None:
    """An ISO time (this machine's zone where it names none), or a span from now."""
    from operations.texts import duration

    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        try:
            moment = now + duration(text)
        except ValueError as error:
            raise ValueError(
                f"--deadline {text!r} is neither a time such as 2026-01-31T06:00+01:00 nor a span "
                "such as 6h"
            ) from error
    if moment <= now:
        raise ValueError(f"--deadline {text} has passed")
    return moment.replace(microsecond=0)


def _read(file: Path | None) -> dict[str, Any]:
    import yaml

    from operations.texts import parse_text

    if file is None:
        return {}
    try:
        content = parse_text(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"--inputs-file {file}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--inputs-file {file} is not a mapping of input names to values")  # noqa: TRY004 - user input
    return content


def _run_here(name: str, values: dict[str, Any], terms: "Terms", *, dry_run: bool) -> Exit:
    from operations.local import find_startable, project_root, run_locally

    root = project_root(Path.cwd())
    target = find_startable(root, name)
    if target.inputs is not None:
        values = terms.into(values, inputs=target.inputs, owner=target.name)
    typer.echo(f"{target.file.relative_to(root)} {target.name}", err=True)
    if dry_run:
        return Exit.OK
    return Exit.OK if run_locally(root, target, values) == 0 else Exit.FAILED


def _upload(flyte: "Flyte", path: Path) -> str:
    with flyte.calls():
        return str(flyte.remote.upload_file(path)[1])


def _price(
    flyte: "Flyte", request: "Request", *, seconds: float | None, rates: Path | None
) -> "Expectation":
    """Prices the launch; without a budget, a GPU that the card does not know stops nothing."""
    from accounting.rates import RateCard, RatesError
    from operations.prices import Expectation, expect
    from operations.terms import in_force

    card = RateCard.load(rates)
    try:
        return expect(flyte, request, seconds=seconds, card=card, now=datetime.now(UTC))
    except RatesError as error:
        if in_force(request.plan, request.inputs, "budget_usd") is not None:
            raise
        return Expectation(usd=None, seconds=None, basis=str(error))


def _hold(expected: "Expectation", request: "Request") -> None:
    """Refuses what is expected to break budget or deadline, wherever those were given.

    Raises:
        RemoteError: It would cost too much or end too late.
    """
    from operations.terms import in_force

    if expected.usd is None or expected.seconds is None:
        return
    budget = in_force(request.plan, request.inputs, "budget_usd")
    if budget is not None and expected.usd > Decimal(str(budget)):
        raise RemoteError(
            f"expected to cost {expected.usd:.4f} USD ({expected.basis}), over the budget of "
            f"{budget} USD: raise --budget-usd, try --purchase spot, or --force",
            code=Exit.BUDGET,
        )
    deadline = in_force(request.plan, request.inputs, "deadline")
    if not deadline:
        return
    due = datetime.fromisoformat(str(deadline)).astimezone(UTC)
    end = datetime.now(UTC) + timedelta(seconds=expected.seconds)
    if end > due:
        raise RemoteError(
            f"expected to end at {end:%Y-%m-%d %H:%M} UTC ({expected.basis}), after the deadline "
            f"{due:%Y-%m-%d %H:%M} UTC: move it, or --force",
            code=Exit.BUDGET,
        )


def _record(
    flyte: "Flyte", request: "Request", expected: "Expectation", *, dry_run: bool
) -> dict[str, Any]:
    from operations.execution import console_address
    from operations.literals import plain

    return {
        "execution": request.name,
        "launch_plan": request.plan.name,
        "version": request.plan.version,
        "workflow": request.plan.workflow,
        "inputs": {name: plain(value) for name, value in request.inputs.items()},
        "priority": request.priority,
        "purchase": request.purchase,
        "labels": dict(request.labels),
        "expected_usd": None if expected.usd is None else str(expected.usd),
        "expected_seconds": expected.seconds,
        "expected_basis": expected.basis,
        "console": None if dry_run else console_address(flyte, request.name),
        "dry_run": dry_run,
    }


def _tell(record: dict[str, Any], *, verb: str) -> None:
    name, plan = record["execution"], record["launch_plan"]
    typer.echo(f"{verb} {plan} at {record['version']} as {name}")
    if record["expected_usd"] is None:
        typer.echo(f"expected cost: unknown, {record['expected_basis']}")
    else:
        took = timedelta(seconds=round(record["expected_seconds"]))
        cost = f"{Decimal(record['expected_usd']):.4f} USD in {took}"
        typer.echo(f"expected cost: {cost} ({record['expected_basis']})")
    terms = [f"{key} {record[key]}" for key in ("priority", "purchase") if record[key]]
    if terms:
        typer.echo(", ".join(terms))
    if record["console"]:
        typer.echo(record["console"])


def _follow(flyte: "Flyte", record: dict[str, Any], pace: "Pace", *, as_json: bool) -> Exit:
    """Waits for the execution and says how it ended."""
    from operations.execution import FINISHED, failure, phase_name, wait_for

    def say(state: str) -> None:
        typer.echo(f"{datetime.now().astimezone():%H:%M:%S} {state}", err=as_json)

    name = record["execution"]
    try:
        execution = wait_for(flyte, name, pace, say=say)
    except KeyboardInterrupt:
        typer.echo(f"oppen: stopped waiting; the run goes on: oppen status {name}", err=True)
        return Exit.STILL_RUNNING
    phase, why = phase_name(execution), failure(execution)
    if as_json:
        typer.echo(json.dumps(record | {"phase": phase, "error": why}, default=str))
    elif why:
        typer.echo(f"oppen: {name} {phase}: {why}", err=True)
    if phase not in FINISHED:
        return Exit.STILL_RUNNING
    return Exit.OK if phase == "SUCCEEDED" else Exit.FAILED

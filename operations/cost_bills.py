"""`oppen cost estimate | bill | rates`: what resources cost, what attempts did cost, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations import cost_options as options

if TYPE_CHECKING:
    from accounting.budget import Verdict
    from accounting.usage import Attempt


def estimate(
    *,
    cores: options.Cores = 1,
    memory_gib: options.Memory = 0,
    gpus: options.Gpus = 0,
    gpu_type: options.GpuType = "generic",
    nodes: options.Nodes = 1,
    processes: options.Processes = 1,
    storage_gib: options.Storage = 0,
    seconds: Annotated[float | None, typer.Option(help="How long it runs, in seconds.")] = None,
    hours: Annotated[float | None, typer.Option(help="How long it runs, in hours.")] = None,
    start: options.Start = None,
    spot: options.Spot = False,
    priority: options.Priority = "normal",
    budget_usd: options.Budget = None,
    deadline: options.Deadline = None,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Prices resources held for a time, before anything runs.

    Example: `oppen cost estimate --cores 4 --gpus 1 --seconds 213.4 --start 2026-03-04T12:00+00:00`
    """
    from accounting.budget import gate
    from accounting.speed import Expected
    from operations import cost_tables as tables

    with options.errors():
        verdict = gate(
            resources=options.requested(
                cores=cores,
                memory_gib=memory_gib,
                gpus=gpus,
                gpu_type=gpu_type,
                nodes=nodes,
                processes=processes,
                storage_gib=storage_gib,
            ),
            card=options.load_card(rates),
            start=options.at_or_now(start, field="--start"),
            expected=Expected(
                seconds=options.duration_seconds(seconds, hours), basis="given", measured=False
            ),
            budget_usd=budget_usd,
            deadline=None if deadline is None else options.at_or_now(deadline, field="--deadline"),
            spot=spot,
            priority=priority,
        )
        if as_json:
            options.print_json({**verdict.estimate.to_json(), **_verdict_facts(verdict)})
            return
        tables.print_bill(verdict.estimate, title="Estimate")
        if verdict.utilisation is not None:
            typer.echo(f"{verdict.utilisation:.1%} of the budget of {verdict.budget_usd} USD")


def bill(
    attempts: Annotated[
        str, typer.Argument(help="File with attempts as JSON or JSON lines, - for standard input.")
    ],
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Bills attempts that ran, by the rates in force at each moment of them.

    Example: `oppen cost bill attempts.json --json`
    """
    from accounting.bill import bill as bill_of
    from operations import cost_tables as tables

    with options.errors():
        result = bill_of(read_attempts(attempts), options.load_card(rates))
        if as_json:
            options.print_json(result.to_json())
            return
        tables.print_bill(result, title="Bill")


def rates(
    at: Annotated[str | None, typer.Option(help="Moment with its offset; now without.")] = None,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Checks a rate card and shows what is in force, with the source of each price.

    Example: `oppen cost rates --rates rates.yaml --at 2026-03-01T22:00+01:00`
    """
    from operations import cost_tables as tables

    with options.errors():
        card = options.load_card(rates)
        moment = options.at_or_now(at, field="--at")
        if as_json:
            options.print_json(tables.card_facts(card, moment))
            return
        tables.print_card(card, moment)


def read_attempts(source: str) -> "list[Attempt]":
    """Reads attempts from a JSON list, an object with `attempts`, or JSON lines.

    Raises:
        ValueError: The file cannot be read, or a record makes no sense; the message names it.
    """
    from accounting.usage import Attempt

    records = options.json_records(options.read_text(source), source)
    found = []
    for index, record in enumerate(records):
        try:
            found.append(Attempt.from_record(record))
        except ValueError as error:
            raise ValueError(f"{source}: attempt {index}: {error}") from error
    return found


def _verdict_facts(verdict: "Verdict") -> dict[str, Any]:
    return {
        "budget_usd": None if verdict.budget_usd is None else str(verdict.budget_usd),
        "utilisation": None if verdict.utilisation is None else str(verdict.utilisation),
        "finish": verdict.finish.isoformat(),
    }

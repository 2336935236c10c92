"""`oppen cost`: what runs cost, did cost and should cost, without a server where none is needed."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from accounting.bill import bill as bill_of
from accounting.budget import BudgetExceeded, DeadlineExceeded, Verdict, gate
from accounting.speed import Expected
from accounting.usage import Attempt
from operations import cost_options as options
from operations import cost_tables as tables
from operations.exits import Exit, one_line_errors

cost_app = typer.Typer(
    name="cost",
    help="What runs cost: estimates, bills, forecasts, plans and reports.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

EXITS = (
    "Exit codes: 0 answered, 2 wrong option or input, 3 a server did not answer, "
    "4 does not fit budget or deadline."
)


@cost_app.command(epilog=EXITS)
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
    with errors():
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
            print_json({**verdict.estimate.to_json(), **_verdict_facts(verdict)})
            return
        tables.print_bill(verdict.estimate, title="Estimate")
        if verdict.utilisation is not None:
            typer.echo(f"{verdict.utilisation:.1%} of the budget of {verdict.budget_usd} USD")


@cost_app.command(epilog=EXITS)
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
    with errors():
        result = bill_of(read_attempts(attempts), options.load_card(rates))
        if as_json:
            print_json(result.to_json())
            return
        tables.print_bill(result, title="Bill")


@cost_app.command(epilog=EXITS)
def rates(
    at: Annotated[str | None, typer.Option(help="Moment with its offset; now without.")] = None,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Checks a rate card and shows what is in force, with the source of each price.

    Example: `oppen cost rates --rates rates.yaml --at 2026-03-01T22:00+01:00`
    """
    with errors():
        card = options.load_card(rates)
        moment = options.at_or_now(at, field="--at")
        if as_json:
            print_json(tables.card_facts(card, moment))
            return
        tables.print_card(card, moment)


@contextmanager
def errors() -> Iterator[None]:
    """Ends a command with one line and a documented code: 4 for what does not fit, 2 for input."""
    with one_line_errors():
        try:
            yield
        except (BudgetExceeded, DeadlineExceeded) as error:
            typer.echo(f"oppen: {error}", err=True)
            raise typer.Exit(Exit.BUDGET) from error


def print_json(content: Any) -> None:
    """Prints a JSON document for scripts."""
    typer.echo(json.dumps(content, indent=2))


def read_attempts(source: str) -> list[Attempt]:
    """Reads attempts from a JSON list, an object with `attempts`, or JSON lines.

    Raises:
        ValueError: The file cannot be read, or a record makes no sense; the message names it.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{source} cannot be read ({error.__class__.__name__}); name a file with attempts"
        ) from error
    records = _json_records(text, source)
    found = []
    for index, record in enumerate(records):
        try:
            found.append(Attempt.from_record(record))
        except ValueError as error:
            raise ValueError(f"{source}: attempt {index}: {error}") from error
    return found


def _json_records(text: str, source: str) -> list[Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise ValueError(f"{source} is no JSON ({error.msg}, line {error.lineno})") from error
    if isinstance(content, dict) and isinstance(content.get("attempts"), list):
        return list(content["attempts"])
    return content if isinstance(content, list) else [content]


def _verdict_facts(verdict: Verdict) -> dict[str, Any]:
    return {
        "budget_usd": None if verdict.budget_usd is None else str(verdict.budget_usd),
        "utilisation": None if verdict.utilisation is None else str(verdict.utilisation),
        "finish": verdict.finish.isoformat(),
    }

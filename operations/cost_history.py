"""`oppen cost report | compare`: what finished runs cost, and which settings are worth it."""

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from operations import cost_options as options
from operations.exits import RemoteError

if TYPE_CHECKING:
    from accounting.run_record import RunRecord

Runs = Annotated[
    str | None,
    typer.Option(help="File with runs as JSON or JSON lines, - for stdin; MLflow without."),
]
Experiments = Annotated[
    list[str] | None,
    typer.Option("--experiment", help="Experiment to read; repeat it, all without."),
]
Output = Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")]


def report(
    *,
    month: Annotated[str | None, typer.Option(help="A month, such as 2026-10.")] = None,
    quarter: Annotated[str | None, typer.Option(help="A quarter, such as 2026-Q3.")] = None,
    since: Annotated[str | None, typer.Option(help="First instant, with its offset.")] = None,
    until: Annotated[str | None, typer.Option(help="First instant after, with its offset.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Dimension to group by, such as agent, band or tag:team; repeat it."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or html.")] = "table",
    output: Output = None,
    runs: Runs = None,
    experiment: Experiments = None,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Reports what runs cost over a month, a quarter or any range, with totals and trends.

    Periods begin at midnight in the rate card's time zone. Without a range all runs count.

    Example: `oppen cost report --month 2026-10 --by agent --format html --output cost.html`
    """
    from accounting.report import DIMENSIONS
    from accounting.report import report as report_of

    with options.errors():
        zone = options.load_card(rates).zone
        start, end = _range(month=month, quarter=quarter, since=since, until=until, zone=zone)
        write = _writer("json" if as_json else form)
        found = report_of(
            read_runs(runs, experiment, start=start, end=end),
            start=start,
            end=end,
            period="quarter" if quarter else "month",
            by=tuple(by or DIMENSIONS),
            zone=zone,
        )
        if output is not None:
            options.write_text(write(found), output, option="--output")
            return
        typer.echo(write(found).rstrip("\n"))


def compare(
    *,
    by: Annotated[
        list[str], typer.Option(help="What makes a configuration: param:NAME, tag:NAME, model ...")
    ],
    metric: Annotated[str, typer.Option(help="The quality metric, such as test_accuracy.")],
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="For a loss, an error or a perplexity.")
    ] = False,
    runs: Runs = None,
    experiment: Experiments = None,
    as_json: options.AsJson = False,
) -> None:
    """Compares configurations by cost against quality; those that another one beats are marked.

    Example: `oppen cost compare --by param:batch_size --by param:precision --metric test_accuracy`
    """
    from accounting.compare import compare as comparison_of

    with options.errors():
        found = comparison_of(
            read_runs(runs, experiment),
            by=by,
            metric=metric,
            higher_is_better=not lower_is_better,
        )
        if as_json:
            options.print_json(
                {
                    "metric": found.metric,
                    "higher_is_better": found.higher_is_better,
                    "left_out": found.left_out,
                    "configurations": [
                        {
                            "name": one.name,
                            "runs": one.runs,
                            "average_usd": str(one.average_usd),
                            "quality": one.quality,
                            "spread": one.spread,
                            "dominated_by": one.dominated_by,
                        }
                        for one in found.configurations
                    ],
                }
            )
            return
        from operations.cost_tables import print_comparison

        print_comparison(found)


def read_runs(
    source: str | None,
    experiments: list[str] | None,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> "list[RunRecord]":
    """Reads finished runs that have a cost, from a file or from MLflow.

    Raises:
        ValueError: A record makes no sense, or MLFLOW_TRACKING_URI is missing.
    """
    from accounting.run_record import COST_TAG, RunRecord

    if source is None:
        mappings = _tracked(experiments, start=start, end=end)
    else:
        mappings = options.json_records(options.read_text(source), source)
        if experiments:
            mappings = [one for one in mappings if one.get("experiment") in experiments]
    priced = [
        one
        for one in mappings
        if one.get("end") is not None
        and (COST_TAG in (one.get("tags") or {}) or "total_cost_usd" in (one.get("metrics") or {}))
    ]
    if len(priced) < len(mappings):
        left = len(mappings) - len(priced)
        typer.echo(f"oppen: {left} runs without an end or a cost are left out", err=True)
    return [RunRecord.from_mapping(one) for one in priced]


def _range(
    *,
    month: str | None,
    quarter: str | None,
    since: str | None,
    until: str | None,
    zone: ZoneInfo,
) -> tuple[datetime | None, datetime | None]:
    """Turns the four ways to say a range into its first instant and the one after it."""
    from accounting import report as reports

    if sum(value is not None for value in (month, quarter, since or until)) > 1:
        raise ValueError("give the range once: --month, --quarter, or --since and --until")
    if month is not None:
        year, number = _period(month, r"(\d{4})-(\d{2})", "--month", "2026-10")
        return reports.month(year, number, zone)
    if quarter is not None:
        year, number = _period(quarter, r"(\d{4})-?[Qq]([1-4])", "--quarter", "2026-Q3")
        return reports.quarter(year, number, zone)
    return (
        None if since is None else options.at_or_now(since, field="--since"),
        None if until is None else options.at_or_now(until, field="--until"),
    )


def _period(text: str, pattern: str, option: str, example: str) -> tuple[int, int]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"{option} is {text!r}; write it like {example}")
    return int(match[1]), int(match[2])


def _writer(form: str) -> Any:
    """Finds the function that writes a report in a format."""
    from accounting.report_html import to_html
    from accounting.report_text import to_csv, to_json, to_table

    writers = {"table": to_table, "csv": to_csv, "json": to_json, "html": to_html}
    if form not in writers:
        raise ValueError(f"--format is {form!r}; use one of {', '.join(writers)}")
    return writers[form]


def _tracked(
    experiments: list[str] | None, *, start: datetime | None, end: datetime | None
) -> list[dict[str, Any]]:
    """Reads runs from the tracking server that MLFLOW_TRACKING_URI names."""
    from stores.mlflow_api import TrackingRefused, TrackingUnavailable
    from stores.run_history import finished_runs
    from stores.settings import Settings

    settings = Settings.from_environment()
    try:
        return list(finished_runs(settings, experiments=experiments, start=start, end=end))
    except (TrackingUnavailable, TrackingRefused) as error:
        raise RemoteError(str(error)) from error

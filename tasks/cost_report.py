"""The monthly cost report: read from MLflow, added up exactly, kept in S3."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flytekit import task
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.types.file import FlyteFile

from accounting import report as reports
from accounting.rates import RateCard
from accounting.report_html import to_html
from accounting.report_text import to_csv, to_json
from accounting.run_record import COST_TAG, RunRecord
from stores.artifacts import store_version
from stores.mlflow_api import TrackingUnavailable
from stores.run_history import finished_runs
from stores.settings import Settings
from tasks.execution import working_folder
from tasks.machines import LIGHT
from tasks.retrying import retried_by_flyte

PREFIX = "cost-reports"
"""Where reports lie in the bucket, one folder a month."""


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """A month's report."""

    month: str
    """The month, such as "2026-10"."""

    page: FlyteFile
    """The report as one HTML page that needs no network."""

    stored: str
    """Where page, table (CSV) and figures (JSON) lie in S3."""

    runs: int
    """Runs that it adds up."""

    left_out: int
    """Runs of the month that have not ended or have no bill."""

    total_cost_usd: str
    """What they cost together, as an exact decimal."""


@task(**LIGHT.options())
def write_cost_report(kickoff_time: datetime, month: str) -> CostReport:
    """Writes the report of a month to S3; again replaces it, as later bills may have come.

    Args:
        kickoff_time: When the schedule fired: the report is of the month before.
        month: A month such as "2026-10" in place of that one, or "".

    Raises:
        ValueError: The month is not written like that.
    """
    settings = Settings.from_environment()
    settings.object_store()  # a missing key is better found before the runs are read
    zone = RateCard.load(settings.rates_path).zone
    year, number = read_month(month) if month else month_before(kickoff_time, zone)
    start, end = reports.month(year, number, zone)
    found = list(_runs(settings, start, end))
    records = [RunRecord.from_mapping(run) for run in billed(found)]
    report = reports.report(records, start=start, end=end, zone=zone)

    name = f"{year}-{number:02d}"
    folder = working_folder("cost-report") / name
    folder.mkdir(exist_ok=True)
    for file, write in (("report.html", to_html), ("report.csv", to_csv), ("report.json", to_json)):
        (folder / file).write_text(write(report), encoding="utf-8")
    with retried_by_flyte():
        stored = store_version(settings, f"{PREFIX}/{name}", folder)
    return CostReport(
        month=name,
        page=FlyteFile(str(folder / "report.html")),
        stored=stored.uri,
        runs=report.total.runs,
        left_out=len(found) - len(records),
        total_cost_usd=str(report.total.usd),
    )


def month_before(kickoff: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Year and number of the month before the one of `kickoff`, on the clock of `zone`.

    >>> month_before(datetime(2026, 1, 2, tzinfo=UTC), ZoneInfo("UTC"))
    (2025, 12)
    """
    kickoff = kickoff.replace(tzinfo=UTC) if kickoff.tzinfo is None else kickoff
    last = kickoff.astimezone(zone).replace(day=1) - timedelta(days=1)
    return last.year, last.month


def read_month(text: str) -> tuple[int, int]:
    """Reads "2026-10" as a year and the number of a month.

    Raises:
        ValueError: It is not written like that.
    """
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
    if match is None:
        raise ValueError(f"month is {text!r}; write it like 2026-10")
    return int(match[1]), int(match[2])


def billed(runs: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The runs that have ended and have a cost."""
    for run in runs:
        if run["end"] is not None and (
            COST_TAG in run["tags"] or "total_cost_usd" in run["metrics"]
        ):
            yield run


def _runs(settings: Settings, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    try:
        yield from finished_runs(settings, start=start, end=end)
    except TrackingUnavailable as error:
        raise FlyteRecoverableException(str(error)) from error

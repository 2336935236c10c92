"""The monthly report: which month, which runs, and what lies in S3 in the end."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flytekit.exceptions.user import FlyteRecoverableException

from accounting.run_record import COST_TAG
from stores import artifacts
from stores.settings import Settings
from stores.tracking import finish_run, log_final, open_run
from tasks.cost_report import month_before, read_month, write_cost_report
from workflows.cost_report import monthly_cost_report

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("kickoff", "zone", "expected"),
    [
        (datetime(2026, 11, 2, 2, 30, tzinfo=UTC), "UTC", (2026, 10)),
        (datetime(2026, 1, 2, 2, 30, tzinfo=UTC), "UTC", (2025, 12)),
        (datetime(2026, 3, 31, 22, 30, tzinfo=UTC), "Europe/Berlin", (2026, 3)),
        (datetime(2026, 3, 31, 22, 30), "Europe/Berlin", (2026, 3)),  # noqa: DTZ001 - Flyte's own are naive
        (datetime(2024, 3, 31, 12, tzinfo=UTC), "UTC", (2024, 2)),
    ],
)
def test_the_month_before_is_one_of_the_card_s_clock(
    kickoff: datetime, zone: str, expected: tuple[int, int]
) -> None:
    """A kickoff after midnight on the card's clock belongs to the new month there."""
    assert month_before(kickoff, ZoneInfo(zone)) == expected


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "October", "2026-10-01"])
def test_a_month_in_other_words_is_refused(text: str) -> None:
    """The message shows what was given and how to write it."""
    with pytest.raises(ValueError, match=rf"month is '{text}'; write it like 2026-10"):
        read_month(text)


def priced_run(settings: Settings, name: str, usd: str | None) -> None:
    """Leaves a run that began just now, with a bill or without."""
    run = open_run(settings, experiment="monthly", execution=name, name=name)
    if usd is not None:
        cost = {"total_usd": usd, "by_band": {"peak": usd}, "by_purchase": {"on-demand": usd}}
        log_final(settings, run.run_id, tags={COST_TAG: json.dumps(cost)})
        finish_run(settings, run.run_id)


@pytest.mark.usefixtures("environment")
def test_a_report_adds_up_and_a_later_one_replaces_it(settings: Settings) -> None:
    """The total is that of the bills, exact; a run that has not ended is counted as left out."""
    now = datetime.now(UTC)
    month = f"{now:%Y-%m}"
    before = write_cost_report(kickoff_time=now, month=month)
    priced_run(settings, "monthly-a", "0.123456")
    priced_run(settings, "monthly-b", "1.000001")
    priced_run(settings, "monthly-open", None)

    report = monthly_cost_report(kickoff_time=now, month=month).report

    added = Decimal(report.total_cost_usd) - Decimal(before.total_cost_usd)
    assert added == Decimal("1.123457")
    assert (report.runs, report.left_out) == (before.runs + 2, before.left_out + 1)
    assert report.month == month
    assert report.stored == f"s3://{settings.s3_bucket}/cost-reports/{month}"
    page = Path(report.page).read_text(encoding="utf-8")
    assert "What training cost" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    stored = artifacts.verify_version(settings, report.stored)
    assert {entry.path for entry in stored.files} == {"report.html", "report.csv", "report.json"}
    assert artifacts.list_versions(settings, "cost-reports") == [month]


@pytest.mark.usefixtures("environment")
def test_a_server_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flyte may retry the task when MLflow does not answer."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(FlyteRecoverableException, match="does not answer"):
        write_cost_report(kickoff_time=datetime.now(UTC), month="2026-10")

"""Finished runs read from a real MLflow server, thousands of them in seconds."""

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from operations.cost import cost_app
from operations.servers import Servers
from stores import tracking
from stores.mlflow_api import TrackingUnavailable
from stores.run_history import finished_runs
from stores.settings import Settings

EXPERIMENT = "run-history"
TABLES = ("runs", "tags", "params", "latest_metrics")
RUNS = 10_000
FIRST = datetime(2026, 7, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=13)

pytestmark = pytest.mark.slow


def free_port() -> int:
    """Finds a port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def multiply(connection: sqlite3.Connection, template: str) -> None:
    """Copies the rows of one run, so that there are thousands of it, and removes the template."""
    for table in TABLES:
        columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
        found = connection.execute(f"select * from {table} where run_uuid = ?", [template])  # noqa: S608
        rows = []
        for original in found.fetchall():
            row = dict(zip(columns, original, strict=True))
            for number in range(RUNS):
                begin = int((FIRST + number * STEP).timestamp() * 1000)
                copy = {**row, "run_uuid": f"{number:032x}"}
                if table == "runs":
                    copy |= {"start_time": begin, "end_time": begin + 60_000}
                if row.get("key") == "oppen.cost":
                    copy["value"] = json.dumps({"total_usd": f"0.{number:06}"})
                rows.append([copy[column] for column in columns])
        marks = ", ".join("?" for _ in columns)
        connection.executemany(f"insert into {table} values ({marks})", rows)  # noqa: S608
        connection.execute(f"delete from {table} where run_uuid = ?", [template])  # noqa: S608
    connection.execute("delete from metrics where run_uuid = ?", [template])


@pytest.fixture(scope="module")
def server(mlflow_server: Servers) -> Iterator[Settings]:
    """A real tracking server that holds ten thousand runs more while these tests go on."""
    settings = mlflow_server.settings
    run = tracking.open_run(
        settings,
        experiment=EXPERIMENT,
        execution=EXPERIMENT,
        name="m",
        tags={"oppen.agent": "agent-sre"},
        params={"batch_size": 64},
    )
    tracking.log_final(settings, run.run_id, metrics={"accuracy": 0.98}, tags={"oppen.cost": "{}"})
    tracking.finish_run(settings, run.run_id)
    database = mlflow_server.layout.root / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        with connection:
            multiply(connection, run.run_id)
        yield Settings(mlflow_tracking_uri=settings.tracking_uri())
        with connection:
            for table in reversed(TABLES):
                connection.execute(f"delete from {table} where run_uuid glob '00000000*'")  # noqa: S608


def test_ten_thousand_runs_are_read_whole(server: Settings) -> None:
    """Every run comes once, in order, whole, page by page; `-rP` shows how long it took."""
    begun = time.perf_counter()
    runs = list(finished_runs(server, experiments=[EXPERIMENT]))
    seconds = time.perf_counter() - begun
    assert [run["run_id"] for run in runs] == [f"{number:032x}" for number in range(RUNS)]
    assert runs[7]["experiment"] == EXPERIMENT
    assert runs[7]["params"] == {"batch_size": "64"}
    assert runs[7]["metrics"] == {"accuracy": 0.98}
    assert runs[7]["tags"]["oppen.agent"] == "agent-sre"
    assert runs[7]["start"] == int((FIRST + 7 * STEP).timestamp() * 1000)
    print(f"{RUNS} runs in {seconds:.1f} s")


def test_ranges_and_pages_do_not_change_what_is_read(server: Settings) -> None:
    """The server filters by time and experiment; small pages add up to the same runs."""
    start, end = FIRST + 10 * STEP, FIRST + 35 * STEP
    inside = list(finished_runs(server, experiments=[EXPERIMENT], start=start, end=end, page=10))
    assert [run["run_id"] for run in inside] == [f"{number:032x}" for number in range(10, 35)]
    assert list(finished_runs(server, experiments=["Default"])) == []
    with pytest.raises(ValueError, match=r"experiment is 'nothing', which .* does not have; use"):
        list(finished_runs(server, experiments=["nothing"]))


def test_the_report_of_a_month_equals_the_sum_of_its_runs(
    server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`oppen cost report` totals what the server holds, exactly."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.tracking_uri())
    monkeypatch.delenv("OPPEN_RATES", raising=False)
    shown = CliRunner().invoke(
        cost_app, ["report", "--month", "2026-08", "--experiment", EXPERIMENT, "--json"]
    )
    assert shown.exit_code == 0, shown.output
    total = json.loads(shown.stdout)["total"]
    august = [number for number in range(RUNS) if (FIRST + number * STEP).month == 8]
    assert total["runs"] == len(august)
    assert Decimal(total["usd"]) == sum(Decimal(f"0.{number:06}") for number in august)


def test_a_server_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line answers with exit code 3 and says what to mend."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingUnavailable, match="does not answer"):
        list(finished_runs(Settings(mlflow_tracking_uri=nowhere)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nowhere)
    refused = CliRunner().invoke(cost_app, ["report"])
    assert refused.exit_code == 3
    assert "mend MLFLOW_TRACKING_URI" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

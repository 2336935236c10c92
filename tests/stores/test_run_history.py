"""Finished runs read from a real MLflow server, thousands of them in seconds."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.cost import cost_app
from stores.run_history import HistoryError, finished_runs

RUNS = 10_000
FIRST = datetime(2026, 7, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=13)

pytestmark = pytest.mark.slow


def free_port() -> int:
    """Finds a port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(database: Path) -> None:
    """Logs one run through the client, then copies its rows to make thousands."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("mnist", artifact_location="mlflow-artifacts:/1")
    run = client.create_run(experiment, start_time=0, tags={"oppen.agent": "agent-sre"})
    client.log_param(run.info.run_id, "batch_size", 64)
    client.log_metric(run.info.run_id, "accuracy", 0.98)
    client.set_terminated(run.info.run_id)
    client.set_tag(run.info.run_id, "oppen.cost", "{}")
    with sqlite3.connect(database) as connection:
        tables = ("runs", "tags", "params", "latest_metrics")
        for table in tables:
            columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
            key = "run_uuid"
            originals = connection.execute(f"select * from {table}").fetchall()  # noqa: S608 - fixed names
            connection.execute(f"delete from {table}")  # noqa: S608 - fixed names
            marks = ", ".join("?" for _ in columns)
            for original in originals:
                rows = []
                for number in range(RUNS):
                    row = dict(zip(columns, original, strict=True))
                    row[key] = f"{number:032x}"
                    begin = int((FIRST + number * STEP).timestamp() * 1000)
                    if table == "runs":
                        row.update(start_time=begin, end_time=begin + 60_000)
                    if row.get("key") == "oppen.cost":
                        row["value"] = json.dumps({"total_usd": f"0.{number:06}"})
                    rows.append([row[column] for column in columns])
                connection.executemany(f"insert into {table} values ({marks})", rows)  # noqa: S608


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server with ten thousand runs, on a free port of loopback."""
    folder = tmp_path_factory.mktemp("mlflow")
    fill(folder / "mlflow.db")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                "--port", str(port), "--workers", "1",
                "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
                "--artifacts-destination", str(folder / "artifacts"),
            ],
            stdout=log,
            stderr=log,
        )  # fmt: skip
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=1).read()  # noqa: S310
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def test_ten_thousand_runs_are_read_in_seconds(address: str) -> None:
    """Every run comes once, in order, whole, page by page."""
    begun = time.perf_counter()
    runs = list(finished_runs(address))
    seconds = time.perf_counter() - begun
    assert [run["run_id"] for run in runs] == [f"{number:032x}" for number in range(RUNS)]
    assert runs[7]["experiment"] == "mnist"
    assert runs[7]["params"] == {"batch_size": "64"}
    assert runs[7]["metrics"] == {"accuracy": 0.98}
    assert runs[7]["tags"]["oppen.agent"] == "agent-sre"
    assert runs[7]["start"] == int((FIRST + 7 * STEP).timestamp() * 1000)
    print(f"{RUNS} runs in {seconds:.1f} s")
    assert seconds < 30


def test_ranges_and_pages_do_not_change_what_is_read(address: str) -> None:
    """The server filters by time and experiment; small pages add up to the same runs."""
    inside = list(finished_runs(address, start=FIRST + 10 * STEP, end=FIRST + 35 * STEP, page=10))
    assert [run["run_id"] for run in inside] == [f"{number:032x}" for number in range(10, 35)]
    assert list(finished_runs(address, experiments=["Default"])) == []
    with pytest.raises(ValueError, match=r"experiment is 'nothing', which .* does not have; use"):
        list(finished_runs(address, experiments=["nothing"]))


def test_the_report_of_a_month_equals_the_sum_of_its_runs(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`oppen cost report` totals what the server holds, exactly."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.delenv("OPPEN_RATES", raising=False)
    shown = CliRunner().invoke(cost_app, ["report", "--month", "2026-08", "--json"])
    assert shown.exit_code == 0, shown.output
    total = json.loads(shown.stdout)["total"]
    august = [number for number in range(RUNS) if (FIRST + number * STEP).month == 8]
    assert total["runs"] == len(august)
    assert Decimal(total["usd"]) == sum(Decimal(f"0.{number:06}") for number in august)


def test_a_server_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line answers with exit code 3 and says what to mend."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(HistoryError, match="does not answer"):
        list(finished_runs(nowhere))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nowhere)
    refused = CliRunner().invoke(cost_app, ["report"])
    assert refused.exit_code == 3
    assert "mend MLFLOW_TRACKING_URI" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

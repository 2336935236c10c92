"""The reporter: never in the way of the loop, never losing a metric, against a real server."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from operations.servers import Servers
from stores import tracking
from stores.metric_spool import read_spooled, replay_spooled, sent_file, spool, spool_path
from stores.mlflow_api import MlflowApi
from stores.mlflow_reporter import MlflowReporter
from stores.settings import Settings
from training.reporter import Fanout, Progress, Reporter


@pytest.fixture
def server(mlflow_server: Servers) -> Settings:
    """Settings of MLflow alone."""
    return Settings(mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri)


@pytest.fixture
def run_id(server: Settings) -> str:
    """A fresh run."""
    name = f"x{uuid.uuid4().hex[:12]}"
    return tracking.open_run(server, experiment="reporter", execution=name, name=name).run_id


def progress(step: int, loss: float | None = 0.5) -> Progress:
    """One step of a loop of 100."""
    return Progress(
        step=step, total_steps=100, epoch=1, epochs=1, loss=loss, items_per_second=1000.0
    )


def history(server: Settings, run_id: str, key: str) -> list[tuple[int, float]]:
    """Reads all points of a metric as (step, value)."""
    with MlflowApi(server) as api:
        found = api.get("metrics/get-history", run_id=run_id, metric_key=key, max_results="25000")
    return sorted((int(m.get("step", 0)), float(m["value"])) for m in found.get("metrics", ()))


def test_metrics_arrive_while_the_loop_runs(server: Settings, run_id: str) -> None:
    """What was reported is on the server before the loop ends, at its step."""
    reporter: Reporter = Fanout([MlflowReporter(server, run_id)])
    reporter.step(progress(1))
    reporter.metrics({"accuracy": 0.9, "loss": float("nan")}, step=7)
    deadline = time.monotonic() + 20
    while not history(server, run_id, "accuracy") and time.monotonic() < deadline:
        time.sleep(0.2)

    assert history(server, run_id, "accuracy") == [(7, 0.9)]
    assert history(server, run_id, "progress/images_per_second") == [(1, 1000.0)]
    reporter.close()
    assert len(history(server, run_id, "loss")) == 1


def test_steps_are_thinned_out_and_cheap(server: Settings, run_id: str) -> None:
    """Of many steps in a moment one is recorded, and noting a step takes microseconds."""
    reporter = MlflowReporter(server, run_id, step_seconds=60)
    start = time.perf_counter()
    for step in range(1, 10_001):
        reporter.step(progress(step))
    per_step = (time.perf_counter() - start) / 10_000
    reporter.close()

    assert history(server, run_id, "progress/loss") == [(1, 0.5)]
    assert per_step < 100e-6


def test_more_metrics_than_a_request_takes_arrive(server: Settings, run_id: str) -> None:
    """2,500 points go in several requests; none is missing."""
    reporter = MlflowReporter(server, run_id)
    for step in range(2500):
        reporter.metrics({"loss": step / 10}, step=step)
    reporter.close()
    assert len(history(server, run_id, "loss")) == 2500


def test_a_name_that_mlflow_refuses_does_not_take_others_along(
    server: Settings, run_id: str
) -> None:
    """One bad name among good ones is left out with a warning."""
    reporter = MlflowReporter(server, run_id)
    reporter.metrics({"good": 1.0, "bad*name": 2.0, "fine": 3.0}, step=1)
    reporter.close()
    assert history(server, run_id, "good") == [(1, 1.0)]
    assert history(server, run_id, "fine") == [(1, 3.0)]


def test_an_outage_in_the_middle_loses_nothing(
    mlflow_server: Servers, server: Settings, run_id: str, tmp_path: Path
) -> None:
    """MLflow is stopped and started during the run: no call waits, every metric arrives."""
    reporter = MlflowReporter(server, run_id, spool_file=tmp_path / "s", close_seconds=30)
    reporter.metrics({"loss": 0.0}, step=0)
    slowest = 0.0
    mlflow_server.stop("mlflow")
    try:
        for step in range(1, 21):
            start = time.perf_counter()
            reporter.step(progress(step))
            reporter.metrics({"loss": float(step)}, step=step)
            slowest = max(slowest, time.perf_counter() - start)
            time.sleep(0.1)
    finally:
        mlflow_server.start("mlflow")
    reporter.metrics({"loss": 21.0}, step=21)
    reporter.close()

    assert [step for step, _ in history(server, run_id, "loss")] == list(range(22))
    assert not (tmp_path / "s").exists()
    assert slowest < 0.25


def test_what_was_not_delivered_waits_in_a_file(
    server: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a server that stays away `close` returns in time, and the next task delivers."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    reporter = MlflowReporter(away, run_id, close_seconds=0.5)
    for step in range(3):
        reporter.metrics({"loss": float(step)}, step=step)
    start = time.monotonic()
    reporter.close()
    reporter.close()

    assert time.monotonic() - start < 5
    assert len(read_spooled(spool_path(run_id))) == 3
    tracking.log_final(server, run_id, metrics={"accuracy": 1.0})
    assert len(history(server, run_id, "loss")) == 3
    assert not spool_path(run_id).exists()


def test_the_next_attempt_delivers_what_the_last_one_could_not(
    server: Settings, run_id: str, tmp_path: Path
) -> None:
    """A reporter finds the file of a killed one and sends it; a cut last line is left out."""
    point = {"key": "old", "value": 1.0, "timestamp": 1, "step": 4}
    spool(tmp_path / "s", [point])
    with (tmp_path / "s").open("a") as file:
        file.write('{"key": "ol')
    reporter = MlflowReporter(server, run_id, spool_file=tmp_path / "s")
    reporter.close()
    assert history(server, run_id, "old") == [(4, 1.0)]
    assert not (tmp_path / "s").exists()


def test_what_was_kept_survives_a_kill(run_id: str, tmp_path: Path) -> None:
    """After `keep` memory holds no metric that a file does not, and `close` adds none again."""
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    reporter = MlflowReporter(away, run_id, spool_file=tmp_path / "s", close_seconds=0)
    reporter.metrics({"loss": 2.0, "accuracy": 0.5}, step=7)
    reporter.keep()
    assert reporter._points == []
    reporter.close()
    waiting = [*read_spooled(sent_file(tmp_path / "s")), *read_spooled(tmp_path / "s")]
    assert [point["step"] for point in waiting] == [7, 7]


def test_a_kill_while_the_file_is_sent_loses_nothing(
    server: Settings, run_id: str, tmp_path: Path
) -> None:
    """What was on its way is sent again, before what came after it."""
    spool(sent_file(tmp_path / "s"), [{"key": "old", "value": 1.0, "timestamp": 1, "step": 1}])
    spool(tmp_path / "s", [{"key": "old", "value": 2.0, "timestamp": 2, "step": 2}])
    MlflowReporter(server, run_id, spool_file=tmp_path / "s").close()
    assert history(server, run_id, "old") == [(1, 1.0), (2, 2.0)]
    assert list(tmp_path.iterdir()) == []


def test_a_replay_changes_nothing_the_second_time(
    server: Settings, run_id: str, tmp_path: Path
) -> None:
    """The same points sent twice are one point each."""
    point = {"key": "k", "value": 1.0, "timestamp": 1_700_000_000_000, "step": 1}
    for _ in range(2):
        spool(tmp_path / "s", [point])
        assert replay_spooled(server, run_id, tmp_path / "s") == 1
    assert history(server, run_id, "k") == [(1, 1.0)]


def test_a_long_outage_spills_to_disk(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds a bounded number of points; the older ones go to the file, none is lost."""
    monkeypatch.setattr("stores.mlflow_reporter._MEMORY_POINTS", 10)
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    reporter = MlflowReporter(away, run_id, spool_file=tmp_path / "s", close_seconds=0)
    for step in range(50):
        reporter.metrics({"loss": 1.0}, step=step)
        assert len(reporter._points) <= 10
    reporter.close()
    steps = [point["step"] for point in read_spooled(tmp_path / "s")]
    assert sorted(steps) == list(range(50))


def test_system_metrics_are_sampled(server: Settings, run_id: str) -> None:
    """Processor and memory appear under the names of MLflow's System metrics page."""
    reporter = MlflowReporter(server, run_id, system_seconds=0.1)
    time.sleep(1.5)
    reporter.close()
    names = tracking.read_run(server, run_id).metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= {
        *names
    }


def test_a_process_that_forgets_to_close_still_ends(server: Settings, run_id: str) -> None:
    """The thread does not keep a process alive."""
    code = (
        "import sys; from stores.mlflow_reporter import MlflowReporter; "
        "from stores.settings import Settings; "
        "MlflowReporter(Settings(mlflow_tracking_uri=sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, server.tracking_uri(), run_id]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0

"""The MLflow run of an execution, against a real server."""

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from operations.servers import Servers
from stores import tracking
from stores.mlflow_api import MlflowApi, TrackingRefused, TrackingUnavailable
from stores.settings import Settings, SettingsError


@pytest.fixture
def execution() -> str:
    """A name that no other test uses."""
    return f"x{uuid.uuid4().hex[:12]}"


@pytest.fixture
def server(mlflow_server: Servers) -> Settings:
    """Settings of MLflow alone: nothing here needs S3."""
    return Settings(mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri)


def start(server: Settings, execution: str, **more: object) -> tracking.TrackedRun:
    """Opens a run with few words."""
    return tracking.open_run(
        server, experiment=f"e-{execution}", execution=execution, name="m", **more
    )


def test_a_retry_finds_the_run_of_its_execution(server: Settings, execution: str) -> None:
    """Opening twice gives one run, running again, with the tags of the second time."""
    first = start(server, execution, tags={"a": "1"}, params={"lr": 0.1})
    tracking.finish_run(server, first.run_id, "FAILED")
    second = start(server, execution, tags={"a": "2"}, params={"lr": 0.1})

    assert second.run_id == first.run_id
    assert (second.status, second.tags["a"], second.params) == ("RUNNING", "2", {"lr": "0.1"})
    assert tracking.find_run(server, execution=execution).run_id == first.run_id


def test_openers_at_the_same_time_agree_on_one_run(server: Settings, execution: str) -> None:
    """Four threads that open the same execution leave one run behind."""
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: start(server, execution), range(4)))

    found = tracking.find_run(server, execution=execution)
    with MlflowApi(server) as api:
        left = api.post("runs/search", experiment_ids=[found.experiment_id])["runs"]
    assert [run["info"]["run_id"] for run in left] == [found.run_id]
    assert {run.experiment_id for run in runs} == {found.experiment_id}


def test_a_changed_parameter_on_a_retry_is_refused(server: Settings, execution: str) -> None:
    """Parameters belong to the execution, so a retry with others is an error in one line."""
    start(server, execution, params={"lr": 0.1})
    with pytest.raises(TrackingRefused, match="lr") as refused:
        start(server, execution, params={"lr": 0.2})
    assert "\n" not in str(refused.value)


def test_many_parameters_and_tags_fit(server: Settings, execution: str) -> None:
    """More than a request takes are sent in several."""
    many = {f"p{n}": n for n in range(250)}
    run = start(server, execution, params=many, tags={f"t{n}": "x" for n in range(150)})
    assert len(run.params) == 250
    assert sum(key.startswith("t") for key in run.tags) >= 150


def test_final_values_are_written_once(server: Settings, execution: str) -> None:
    """A second `log_final` with the same metrics adds no point; NaN and infinity are kept."""
    run_id = start(server, execution).run_id
    values = {"accuracy": 0.98, "worst": float("inf"), "empty": float("nan")}
    for _ in range(2):
        tracking.log_final(server, run_id, metrics=values, tags={"done": "yes"})

    run = tracking.read_run(server, run_id)
    assert run.tags["done"] == "yes"
    assert run.metrics["accuracy"] == 0.98
    with MlflowApi(server) as api:
        history = api.get("metrics/get-history", run_id=run_id, metric_key="accuracy")["metrics"]
    assert len(history) == 1


def test_finishing_twice_keeps_the_first_end(server: Settings, execution: str) -> None:
    """The end of a run does not move when its last task is retried."""
    run_id = start(server, execution).run_id
    ends = []
    for _ in range(2):
        tracking.finish_run(server, run_id)
        with MlflowApi(server) as api:
            ends.append(api.get("runs/get", run_id=run_id)["run"]["info"]["end_time"])
    assert ends[0] == ends[1]


def test_files_go_up_and_come_back(server: Settings, execution: str, tmp_path: Path) -> None:
    """A folder and a file are logged, twice without harm, and fetched again."""
    run_id = start(server, execution).run_id
    (tmp_path / "report" / "deep").mkdir(parents=True)
    (tmp_path / "report" / "deep" / "a.html").write_text("<p>")
    (tmp_path / "bill.json").write_text("{}")
    for _ in range(2):
        tracking.log_artifacts(server, run_id, tmp_path / "report", "report")
        tracking.log_artifacts(server, run_id, tmp_path / "bill.json", "report")

    got = tracking.fetch_artifacts(server, run_id, "report", tmp_path / "back")

    files = sorted(str(p.relative_to(got)) for p in got.rglob("*") if p.is_file())
    assert files == ["bill.json", "deep/a.html"]
    with pytest.raises(ValueError, match="no files under 'nothing'"):
        tracking.fetch_artifacts(server, run_id, "nothing", tmp_path / "none")


def test_recent_metric_reads_finished_runs_of_the_same_kind(
    server: Settings, execution: str
) -> None:
    """Only finished runs with the tags count, newest first."""
    experiment = f"e-{execution}"
    for number, kind in enumerate(["a", "a", "b", "a"]):
        run = tracking.open_run(
            server,
            experiment=experiment,
            execution=f"{execution}-{number}",
            name="m",
            tags={"kind": kind},
        )
        tracking.log_final(server, run.run_id, metrics={"speed": float(number)})
        if number != 3:
            tracking.finish_run(server, run.run_id)

    def asked(name: str) -> list[float]:
        return tracking.recent_metric(
            server, experiment=name, metric="speed", tags={"kind": "a"}, limit=5
        )

    assert asked(experiment) == [1.0, 0.0]
    assert asked("never-made") == []


def test_an_execution_without_a_run_is_named(server: Settings, execution: str) -> None:
    """Looking for a run that does not exist says which."""
    with pytest.raises(ValueError, match=f"execution '{execution}' has no run"):
        tracking.find_run(server, execution=execution)


def test_a_server_that_is_away_is_named_without_a_traceback_of_urllib() -> None:
    """A dead address gives one line with the address and what to mend."""
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    with (
        MlflowApi(away, timeout_seconds=1, retries=0) as api,
        pytest.raises(TrackingUnavailable, match=r"127.0.0.1:9 does not answer .*TRACKING_URI"),
    ):
        api.get("runs/get", run_id="x")


def test_settings_are_needed_when_they_are_used() -> None:
    """A missing address is an error that names its variable."""
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI is not set"):
        tracking.read_run(Settings(), "x")


def test_the_training_process_imports_no_mlflow() -> None:
    """Tracking and its reporter load neither mlflow nor torch, which take seconds."""
    code = (
        "import sys, stores.tracking, stores.attempts; print({'mlflow', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

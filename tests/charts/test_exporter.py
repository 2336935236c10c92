# ruff: noqa: S310 - the addresses are loopback servers of the test
"""The exporter against a real MLflow store: runs, durations, costs and champions as metrics."""

import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rendering import CHART, script

DAY = 86400


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    """The script that the chart mounts."""
    return script(CHART / "files" / "exporter.py")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """MLflow on SQLite with runs of two experiments and a champion."""
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    store = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    now = int(time.time() * 1000)
    images = store.create_experiment("images", artifact_location=str(folder))
    agents = store.create_experiment('agents "sre"', artifact_location=str(folder))
    for age_days, status, seconds, cost in (
        (0.1, "FINISHED", 100.0, 1.5),
        (0.2, "FINISHED", 300.0, 0.5),
        (0.3, "FAILED", 10.0, 0.25),
        (3.0, "FINISHED", 900.0, 4.0),
    ):
        run = store.create_run(images, start_time=now - int(age_days * DAY * 1000))
        store.log_metric(run.info.run_id, "duration_seconds", seconds)
        store.log_metric(run.info.run_id, "total_cost_usd", cost)
        store.log_metric(run.info.run_id, "accuracy", 0.987)
        store.set_terminated(run.info.run_id, status=status)
    store.create_run(agents, start_time=now)
    store.create_registered_model("mnist")
    store.create_model_version("mnist", source=str(folder), run_id=run.info.run_id)
    store.set_registered_model_alias("mnist", "champion", "1")
    store.create_registered_model("nobody")
    return store


@pytest.fixture(scope="module")
def page(exporter: ModuleType, client: Any) -> dict[str, float]:
    """What Prometheus would scrape, by series."""
    running = exporter.Exporter(client, window_days=30, quality=["accuracy", "perplexity"])
    running.read(time.time())
    return series(running.text())


def series(text: str) -> dict[str, float]:
    """Samples of a page; every line is of the exposition format."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            continue
        match = re.fullmatch(
            r'([a-z_]+(?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)*\})?) ([0-9.e+-]+)', line
        )
        assert match is not None, line
        assert match[1] not in found, line
        found[match[1]] = float(match[2])
    return found


def test_runs_are_counted_by_window(page: dict[str, float]) -> None:
    """Runs by status, within a day and within a week; an awkward name is escaped."""
    count = 'oppen_runs{{experiment="images",status="{}",window="{}"}}'
    assert page[count.format("FINISHED", "1d")] == 2
    assert page[count.format("FAILED", "1d")] == 1
    assert page[count.format("FINISHED", "7d")] == 3
    assert page['oppen_runs{experiment="agents \\"sre\\"",status="RUNNING",window="1d"}'] == 1


def test_durations_are_those_of_finished_runs(page: dict[str, float]) -> None:
    """Median and 95th percentile by nearest rank."""
    name = 'oppen_run_duration_seconds{{experiment="images",quantile="{}",window="{}"}}'
    assert page[name.format("0.5", "1d")] == 100
    assert page[name.format("0.95", "1d")] == 300
    assert page[name.format("0.95", "7d")] == 900


def test_costs_include_failed_runs(page: dict[str, float]) -> None:
    """A failed run cost money too."""
    assert page['oppen_cost{experiment="images",window="1d"}'] == pytest.approx(2.25)
    assert page['oppen_cost{experiment="images",window="7d"}'] == pytest.approx(6.25)


def test_the_champions_quality_is_shown(page: dict[str, float]) -> None:
    """A model with a champion shows the wanted metrics that its run has, one without shows none."""
    shown = {name: value for name, value in page.items() if "quality" in name}
    name = 'oppen_model_quality{metric="accuracy",model="mnist",version="1"}'
    assert shown == {name: pytest.approx(0.987)}


def test_more_runs_than_a_page_are_all_read(
    exporter: ModuleType, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paging loses nothing."""
    monkeypatch.setattr(exporter, "PAGE", 2)
    assert len(list(exporter.read_runs(client, since=0))) == 5


def test_an_outage_keeps_the_last_reading(exporter: ModuleType, client: Any) -> None:
    """While MLflow is away the page stays and says so."""

    class Away:
        def search_experiments(self) -> list[object]:
            raise ConnectionError("away")

    running = exporter.Exporter(client, window_days=30, quality=[])
    running.read(time.time())
    before = series(running.text())
    running._client = Away()
    running.read(time.time() + 60)
    after = series(running.text())
    assert before.pop("oppen_mlflow_up") == 1
    assert after.pop("oppen_mlflow_up") == 0
    assert after == before


@pytest.fixture
def address(exporter: ModuleType, client: Any) -> Iterator[str]:
    """The exporter's server on a free port."""
    running = exporter.Exporter(client, window_days=30, quality=[])
    server = exporter.serve(running, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_serves_metrics_and_health(address: str) -> None:
    """/metrics and /healthz answer before MLflow was ever read; anything else is not found."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as page:
        assert series(page.read().decode())["oppen_mlflow_up"] == 0
        assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    with urllib.request.urlopen(f"{address}/healthz", timeout=5) as page:
        assert page.read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{address}/secrets", timeout=5)


def test_every_metric_is_described(exporter: ModuleType, page: dict[str, float]) -> None:
    """Each series has a name that the script declares."""
    assert {name.split("{")[0] for name in page} == set(exporter.TYPES)


def test_windows_are_bounded(exporter: ModuleType) -> None:
    """A run outside every window is in no sample."""
    run = exporter.Run(experiment="old", status="FINISHED", started=0.0)
    assert list(exporter.summarise([run], now=10.0 * DAY, windows={"1d": DAY})) == []


def test_the_path_of_the_script_is_in_the_chart() -> None:
    """The Deployment runs the file that these tests load."""
    template = (CHART / "templates" / "exporter-deployment.yaml").read_text(encoding="utf-8")
    assert "/scripts/exporter.py" in template
    assert Path(CHART / "files" / "exporter.py").is_file()

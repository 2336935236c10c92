"""Openers of one execution agree on one run, in the orders of events that could part them."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from operations.servers import Servers
from stores import agreed_run as agreement
from stores.agreed_run import EXECUTION_TAG, OPENED_TAG, agreed_run, search_runs
from stores.mlflow_api import MlflowApi, entries
from stores.settings import Settings
from stores.tracking import find_run


@pytest.fixture
def server(mlflow_server: Servers) -> Settings:
    """Settings of MLflow alone."""
    return Settings(mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri)


@pytest.fixture
def api(server: Settings) -> Iterator[MlflowApi]:
    """A connection of the test's own."""
    with MlflowApi(server) as api:
        yield api


@pytest.fixture
def execution(api: MlflowApi) -> dict[str, Any]:
    """An execution in an experiment that no other test uses."""
    name = f"x{uuid.uuid4().hex[:12]}"
    experiment = api.post("experiments/create", name=name)["experiment_id"]
    return {"experiment_id": experiment, "execution": name, "name": name}


def left(api: MlflowApi, execution: dict[str, Any]) -> list[str]:
    """The runs of an execution that were not deleted."""
    condition = f"tags.`{EXECUTION_TAG}` = '{execution['execution']}'"
    found = search_runs(api, [execution["experiment_id"]], condition)
    return [run["info"]["run_id"] for run in found]


def begun(api: MlflowApi, execution: dict[str, Any], *, start_time: int) -> str:
    """A run whose maker did not come to open it."""
    made = api.post(
        "runs/create",
        experiment_id=execution["experiment_id"],
        run_name=execution["name"],
        start_time=start_time,
        tags=entries({EXECUTION_TAG: execution["execution"]}),
    )
    return str(made["run"]["info"]["run_id"])


def test_a_run_that_is_seen_late_gives_way_to_the_opened_one(
    server: Settings, api: MlflowApi, execution: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow opener's run starts before the quick one's, and is seen after that was opened."""
    quick: list[str] = []
    start_time = time.time_ns() // 1_000_000

    def slow_create(*_: object) -> str:
        monkeypatch.undo()
        with MlflowApi(server) as other:
            quick.append(agreed_run(other, **execution))
        return begun(api, execution, start_time=start_time - 1000)

    monkeypatch.setattr(agreement, "_create", slow_create)

    assert [agreed_run(api, **execution)] == quick
    assert left(api, execution) == quick


def test_makers_that_all_see_each_other_keep_one_run(
    server: Settings, api: MlflowApi, execution: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four runs exist before the first look: one is opened, the others are deleted."""
    create, made = agreement._create, Barrier(4)

    def together(*arguments: Any) -> str:
        run_id = create(*arguments)
        made.wait(timeout=60)
        return run_id

    def opened(_: int) -> str:
        with MlflowApi(server) as own:
            return agreed_run(own, **execution)

    monkeypatch.setattr(agreement, "_create", together)
    with ThreadPoolExecutor(4) as pool:
        runs = set(pool.map(opened, range(4)))

    assert left(api, execution) == list(runs)


def test_a_run_whose_maker_died_is_taken_over(api: MlflowApi, execution: dict[str, Any]) -> None:
    """After some patience the first of two that nobody opened is opened, the other deleted."""
    first = begun(api, execution, start_time=1000)
    begun(api, execution, start_time=2000)

    assert agreed_run(api, **execution, patience=0.2) == first

    assert left(api, execution) == [first]
    tags = api.get("runs/get", run_id=first)["run"]["data"]["tags"]
    assert OPENED_TAG in {tag["key"] for tag in tags}


def test_an_opened_run_is_found_at_once(
    server: Settings, api: MlflowApi, execution: dict[str, Any]
) -> None:
    """Neither a retry nor a reader takes the run of a maker that died, though it began earlier."""
    opened = agreed_run(api, **execution)
    begun(api, execution, start_time=1000)

    started = time.monotonic()
    assert agreed_run(api, **execution) == opened
    assert time.monotonic() - started < agreement.AGREEMENT_SECONDS
    assert find_run(server, execution=execution["execution"]).run_id == opened

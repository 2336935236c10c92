"""`mnist_ddp_pipeline`: two real processes under Elastic, and one of everything they leave."""

import json
from pathlib import Path

import pytest

from stores import artifacts
from stores.objects import open_objects
from stores.settings import Settings
from stores.tracking import TrackedRun, find_run
from tests.e2e.runs import aliases_of, history, run, runs_of, versions_of

EXECUTION, MODEL = "e2e-ddp", "digits-ddp"
EPOCHS, STEPS = 6, 13


@pytest.fixture(scope="module")
def tracked(
    settings: Settings,
    variables: dict[str, str],
    digits: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrackedRun:
    """The MLflow run of a pipeline that trained on two processes."""
    run(
        "workflows/mnist.py",
        "mnist_ddp_pipeline",
        variables={**variables, "OPPEN_EXECUTION_ID": EXECUTION},
        log=tmp_path_factory.mktemp("ddp") / "log",
        dataset=str(digits),
        config={"epochs": EPOCHS, "batch_size": 32},
        model_name=MODEL,
        experiment=MODEL,
        min_accuracy=0.5,
    )
    return find_run(settings, execution=EXECUTION)


@pytest.mark.slow
def test_two_processes_leave_one_run_and_one_version(
    tracked: TrackedRun, settings: Settings
) -> None:
    """Only rank 0 reports: one run, each epoch once, one version with both aliases."""
    assert len(runs_of(settings, MODEL)) == 1
    losses = history(settings, tracked.run_id, "train_loss")
    assert sorted(losses) == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]
    (version,) = versions_of(settings, MODEL)
    assert version["run_id"] == tracked.run_id
    assert aliases_of(settings, MODEL) == {"challenger": "1", "champion": "1"}


@pytest.mark.slow
def test_two_processes_learn_as_one_does(tracked: TrackedRun, settings: Settings) -> None:
    """Both ranks took part, the model is good, and it comes back whole."""
    uri = tracked.tags["oppen.artifact"]
    artifacts.verify_version(settings, uri)
    with open_objects(settings) as objects:
        result = json.loads(objects.read(f"{MODEL}/1/result.json") or b"{}")
    assert result["world_size"] == 2
    assert tracked.metrics["accuracy"] > 0.7
    assert tracked.metrics["reload_difference"] < 1e-4


@pytest.mark.slow
def test_the_bill_counts_the_machine_once(tracked: TrackedRun) -> None:
    """Two processes share the cores of one machine: the attempt holds them once."""
    attempt = json.loads(tracked.tags["oppen.attempt.train.000"])
    resources = attempt["resources"]
    assert (resources["nodes"], resources["processes"]) == (1, 2)
    assert attempt["outcome"] == "succeeded"
    assert tracked.metrics["total_cost_usd"] > 0

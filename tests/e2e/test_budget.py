"""A budget in money: refused before training, or trained as far as it goes and resumed."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from accounting.budget import BudgetExceeded
from stores import artifacts
from stores.settings import Settings
from stores.tracking import find_run
from tasks.records import Summary
from tests.e2e.runs import (
    aliases_of,
    artifacts_of,
    history,
    objects_of,
    runs_of,
    versions_of,
)
from training.classifier_config import ClassifierConfig
from workflows.mnist import mnist_pipeline

CONFIG = ClassifierConfig(epochs=16, batch_size=8, evaluate_epochs=False)
STEPS = 50  # of an epoch: 400 digits in batches of 8
BUDGET_USD, LARGER_USD = Decimal("3.5"), 1000
SLOW_MACHINE_USD = 4
"""What a busy machine may take longer for the hand-over than the two seconds kept for it."""


@pytest.fixture(autouse=True)
def _rates(here: pytest.MonkeyPatch, dollar_a_second: Path) -> None:
    """Every run of this file costs a dollar a second."""
    here.setenv("OPPEN_RATES", str(dollar_a_second))


def train(
    here: pytest.MonkeyPatch, digits: Path, *, name: str, execution: str, **terms: object
) -> Summary:
    """Runs the pipeline; model and experiment are both called `name`."""
    here.setenv("OPPEN_EXECUTION_ID", execution)
    summary: Summary = mnist_pipeline(
        dataset=str(digits),
        config=CONFIG,
        model_name=name,
        experiment=name,
        min_accuracy=0.5,
        **terms,
    ).summary
    return summary


def test_a_plan_over_budget_is_refused_before_training(
    here: pytest.MonkeyPatch, digits: Path, settings: Settings, unique: str
) -> None:
    """The gate raises a typed error that names budget, estimate and mend; nothing exists after."""
    with pytest.raises(BudgetExceeded, match=r"budget_usd is 0\.5, but expected .* raise budget"):
        train(here, digits, name=unique, execution=unique, budget_usd=0.5)
    assert runs_of(settings, unique) == []
    assert versions_of(settings, unique) == []
    assert objects_of(settings, unique) == []


@pytest.mark.slow
def test_a_run_stops_at_its_budget_and_resumes_with_a_larger_one(
    here: pytest.MonkeyPatch, digits: Path, settings: Settings, unique: str
) -> None:
    """It stops within its budget, keeps a checkpoint, goes on from there; both bills add up."""
    first, second = f"{unique}-first", f"{unique}-second"

    stopped = train(
        here,
        digits,
        name=unique,
        execution=first,
        budget_usd=float(BUDGET_USD),
        over_budget="train",
    )
    assert stopped.status == "stopped: budget"
    assert stopped.alias == ""
    assert "stopped by its budget" in stopped.decision
    spent = Decimal(stopped.total_cost_usd)
    before = find_run(settings, execution=first)
    assert 0 < spent <= BUDGET_USD + SLOW_MACHINE_USD
    (checkpoint,) = artifacts_of(settings, before.run_id, "checkpoint")
    stop_step = int(checkpoint.split("-")[1])
    artifacts.verify_version(settings, before.tags["oppen.artifact"])

    resumed = train(
        here,
        digits,
        name=unique,
        execution=second,
        budget_usd=float(LARGER_USD),
        resume_from=first,
    )
    assert resumed.status == "completed"
    assert resumed.alias == "challenger+champion"
    after = find_run(settings, execution=second)
    assert min(history(settings, after.run_id, "train_loss")) > stop_step
    assert max(history(settings, after.run_id, "train_loss")) == STEPS * 16

    added = Decimal(resumed.total_cost_usd)
    assert added == Decimal(json.loads(after.tags["oppen.cost"])["total_usd"])
    assert Decimal(after.tags["oppen.spent_before_usd"]) == spent
    assert after.tags["oppen.resumed_from"] == first
    both = sum(Decimal(str(run.metrics["total_cost_usd"])) for run in (before, after))
    assert spent + added == both
    assert [v["version"] for v in versions_of(settings, unique)] == ["1", "2"]
    assert aliases_of(settings, unique) == {"challenger": "2", "champion": "2"}

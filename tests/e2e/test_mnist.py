"""`pyflyte run workflows/mnist.py mnist_pipeline`, from the command line to every server."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from stores import artifacts
from stores.settings import Settings
from stores.tracking import TrackedRun, find_run
from tests.e2e.runs import aliases_of, artifacts_of, history, objects_of, run, runs_of, versions_of

EXECUTION, MODEL = "e2e-whole", "digits-whole"
EPOCHS, BATCH = 8, 32
STEPS = 13  # of an epoch: 400 digits in batches of 32
DECK_BYTES = 300_000


@dataclass(frozen=True)
class Finished:
    """A pipeline that ended."""

    printed: str
    tracked: TrackedRun
    decks: list[str]


@pytest.fixture(scope="module")
def finished(
    settings: Settings,
    variables: dict[str, str],
    digits: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """The whole pipeline, once, with its Decks in a folder of its own."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tmp").mkdir()
    printed = run(
        "workflows/mnist.py",
        "mnist_pipeline",
        variables={**variables, "OPPEN_EXECUTION_ID": EXECUTION, "TMPDIR": str(folder / "tmp")},
        log=folder / "log",
        dataset=str(digits),
        config={"epochs": EPOCHS, "batch_size": BATCH},
        model_name=MODEL,
        experiment=MODEL,
        min_accuracy=0.5,
        budget_usd=10.0,
    )
    decks = [path.read_text(encoding="utf-8") for path in (folder / "tmp").rglob("deck.html")]
    return Finished(printed, find_run(settings, execution=EXECUTION), decks)


def test_it_says_how_it_ended(finished: Finished) -> None:
    """The last line names status, version, alias, decision, cost and address."""
    last = finished.printed.splitlines()[-1]
    for part in ("completed", f"{MODEL}/1", "challenger+champion", finished.tracked.url):
        assert part in last


def test_there_is_one_run_with_its_parameters(finished: Finished, settings: Settings) -> None:
    """The execution has one finished MLflow run, which knows what it was started with."""
    assert len(runs_of(settings, MODEL)) == 1
    assert finished.tracked.status == "FINISHED"
    params = finished.tracked.params
    assert params["epochs"] == str(EPOCHS)
    assert params["batch_size"] == str(BATCH)
    assert params["learning_rate"] == "0.002"


@pytest.mark.parametrize(
    "metric", ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "images_per_second"]
)
def test_each_epoch_has_its_metrics(finished: Finished, settings: Settings, metric: str) -> None:
    """Every epoch reported once, at the step it ended on."""
    values = history(settings, finished.tracked.run_id, metric)
    assert sorted(values) == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]


def test_it_learns(finished: Finished, settings: Settings) -> None:
    """The loss falls, and the evaluation agrees with the last epoch on the same digits."""
    losses = history(settings, finished.tracked.run_id, "train_loss")
    assert losses[STEPS * EPOCHS] < losses[STEPS] / 2
    metrics = finished.tracked.metrics
    assert metrics["accuracy"] == pytest.approx(metrics["test_accuracy"], abs=0.011)
    assert 0.7 < metrics["accuracy"] <= 1
    assert {"loss", "calibration_error", "precision/7", "recall/7"} <= set(metrics)


def test_the_bill_is_in_metrics_and_exact_in_a_tag(finished: Finished) -> None:
    """Duration and cost by resource are metrics; the tag adds up to the cent fraction."""
    metrics = finished.tracked.metrics
    cost = json.loads(finished.tracked.tags["oppen.cost"])
    assert metrics["duration_seconds"] > 0
    assert metrics["cpu_cost_usd"] > 0
    assert metrics["gpu_cost_usd"] == 0
    assert Decimal(cost["total_usd"]) == sum(Decimal(part) for part in cost["by_band"].values())
    assert metrics["total_cost_usd"] == pytest.approx(float(cost["total_usd"]))
    assert cost["by_purchase"] == {"on-demand": cost["total_usd"]}


def test_the_tags_say_what_ran_on_what(finished: Finished) -> None:
    """Commit, data, execution, host kind, versions and the gate's words are tags."""
    tags = finished.tracked.tags
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", tags["oppen.commit"])
    assert re.fullmatch(r"[0-9a-f]{64}", tags["oppen.dataset"])
    assert tags["oppen.execution"] == EXECUTION
    assert re.fullmatch(r"machine-\d+-cores", tags["oppen.host"])
    assert tags["oppen.version.torch"].startswith("2.")
    assert tags["oppen.version.python"].startswith("3.")
    assert "oppen.version.oppen" in tags
    assert tags["oppen.status"] == "completed"
    assert "reaches the required 50.00%" in tags["oppen.decision"]
    assert "of the budget" in tags["oppen.expected"]


def test_the_report_and_the_bill_are_artifacts(finished: Finished, settings: Settings) -> None:
    """Figures, evaluation and bill lie beside the run."""
    run_id = finished.tracked.run_id
    report = artifacts_of(settings, run_id, "report")
    figures = {"confusion.html", "mistakes.html", "scores.html", "curves.html"}
    assert report == {"evaluation.json", "metrics.json", *figures}
    assert artifacts_of(settings, run_id, "bill") == {"bill.json"}


def test_one_version_has_both_aliases(finished: Finished, settings: Settings) -> None:
    """The only version was made by this run and is challenger and champion."""
    (version,) = versions_of(settings, MODEL)
    assert version["run_id"] == finished.tracked.run_id
    assert aliases_of(settings, MODEL) == {"challenger": "1", "champion": "1"}
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["oppen.dataset"] == finished.tracked.tags["oppen.dataset"]
    assert Decimal(tags["oppen.total_cost_usd"]) > 0


def test_s3_holds_the_verified_version(finished: Finished, settings: Settings) -> None:
    """Every object is in the manifest, has its hash, and the run names the manifest."""
    stored = artifacts.verify_version(settings, finished.tracked.tags["oppen.artifact"])
    assert stored.manifest_sha256 == finished.tracked.tags["oppen.manifest_sha256"]
    names = {f"{MODEL}/1/{entry.path}" for entry in stored.files}
    assert set(objects_of(settings, MODEL)) == names | {f"{MODEL}/1/manifest.json"}
    held = {entry.path for entry in stored.files}
    assert {"model.safetensors", "probe.safetensors", "dataset.json", "model/MLmodel"} <= held


def test_the_reloaded_model_computes_the_same(finished: Finished) -> None:
    """Registry and S3 gave back a model with the logits of training."""
    assert finished.tracked.metrics["reload_difference"] < 1e-4


def test_the_decks_are_small_and_load_nothing(finished: Finished) -> None:
    """Each page is under 300 KB and asks no server for scripts, pictures or data.

    Flytekit's own page asks for a font, and does without where there is no network.
    """
    titles = {title for deck in finished.decks for title in re.findall(r">([^<]+)</li>", deck)}
    assert {"Gate", "Training", "Scores", "Confusion", "Mistakes", "Bill"} <= titles
    for deck in finished.decks:
        assert len(deck.encode()) < DECK_BYTES
        fonts, *others = re.findall(r"""(?:src|href)=["']?(https?://[^"'> ]+)""", deck)
        assert fonts.startswith("https://fonts.googleapis.com/")
        assert others == []
        assert not re.search(r"url\(['\"]?https?:|@import|<script[^>]+src", deck)

"""A pipeline killed in mid-epoch and started again ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
import torch

from stores import artifacts
from stores.settings import Settings
from stores.tracking import find_run
from tests.e2e.runs import history, objects_of, run, runs_of, start, versions_of
from training.classifier import train_classifier
from training.classifier_config import ClassifierConfig
from training.image_data import load_images, prepare_images

EXECUTION, MODEL = "e2e-killed", "digits-killed"
EPOCHS, BATCH, STEPS = 12, 8, 50  # 600 steps, some seconds
START_SECONDS = 180


@pytest.mark.slow
def test_a_killed_pipeline_resumes_to_the_same_weights(
    settings: Settings,
    variables: dict[str, str],
    dollar_a_second: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    """Same weights bit for bit, one run, one version, every epoch once, both attempts billed."""
    environment = {
        **variables,
        "OPPEN_EXECUTION_ID": EXECUTION,
        "OPPEN_RATES": str(dollar_a_second),
        "TMPDIR": str(tmp_path),
    }
    inputs = {
        "dataset": str(digits),
        "config": {"epochs": EPOCHS, "batch_size": BATCH, "evaluate_epochs": False},
        "model_name": MODEL,
        "experiment": MODEL,
        "min_accuracy": 0.5,
        "checkpoint_seconds": 0.3,
    }
    command = ("workflows/mnist.py", "mnist_pipeline")

    killed = start(*command, variables=environment, log=tmp_path / "log", **inputs)
    checkpoints = tmp_path / "oppen" / "checkpoints" / EXECUTION
    wait_for_checkpoints(checkpoints, killed, tmp_path / "log")
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    run(*command, variables=environment, log=tmp_path / "log", **inputs)

    tracked = find_run(settings, execution=EXECUTION)
    assert len(runs_of(settings, MODEL)) == len(versions_of(settings, MODEL)) == 1
    losses = history(settings, tracked.run_id, "train_loss")
    assert sorted(losses) == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]

    first, second = (
        json.loads(tracked.tags[f"oppen.attempt.train.{number:03d}"]) for number in (0, 1)
    )
    assert (first["outcome"], second["outcome"]) == ("running", "succeeded")
    cost = json.loads(tracked.tags["oppen.cost"])
    both = seconds(first, "start", "end") + seconds(second, "start", "end")
    assert float(cost["total_usd"]) == pytest.approx(both, abs=0.001)
    lost = seconds(first, "last_checkpoint", "end")
    assert float(cost["lost_usd"]) == pytest.approx(lost, abs=0.001)
    assert tracked.metrics["duration_seconds"] == pytest.approx(both, abs=0.001)

    stored = artifacts.verify_version(settings, tracked.tags["oppen.artifact"])
    weights = {entry.path: entry.sha256 for entry in stored.files}["model.safetensors"]
    assert weights == uninterrupted_weights(digits, tmp_path / "reference")
    assert [name for name in objects_of(settings, MODEL) if name.endswith("manifest.json")] == [
        f"{MODEL}/1/manifest.json"
    ]
    assert not checkpoints.exists()


def wait_for_checkpoints(
    folder: Path, process: "subprocess.Popen[bytes]", log: Path, *, at_least_step: int = 60
) -> None:
    """Returns when a checkpoint past `at_least_step` lies there, in the middle of an epoch."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        steps = [int(path.name.split("-")[1]) for path in folder.glob("step-*.safetensors")]
        if any(step >= at_least_step and step % STEPS for step in steps):
            return
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint within {START_SECONDS} s: {log.read_text()[-3000:]}")


def seconds(attempt: dict[str, str], since: str, until: str) -> float:
    """Time between two instants of an attempt's record; a dollar each."""
    begin, end = (datetime.fromisoformat(attempt[name]) for name in (since, until))
    return (end - begin).total_seconds()


def uninterrupted_weights(digits: Path, folder: Path) -> str:
    """SHA-256 of the weights that the same training gives in one go, in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prepare_images(str(digits), folder / "data")
        config = ClassifierConfig(epochs=EPOCHS, batch_size=BATCH, evaluate_epochs=False)
        result = train_classifier(config, load_images(folder / "data"), out=folder / "model")
    finally:
        torch.set_num_threads(threads)
    return result.model_sha256

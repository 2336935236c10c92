"""MLflow goes away in mid-training and comes back."""

import threading
import time
from pathlib import Path

import pytest

from operations.servers import Servers
from stores.settings import Settings
from stores.tracking import read_run
from tasks.checkpoints import local_folder
from tasks.price import price_run
from tasks.records import Run
from tasks.train_image import train_classifier
from tests.e2e.chain import opened
from tests.e2e.runs import history
from training.classifier_config import ClassifierConfig

CONFIG = ClassifierConfig(epochs=30, batch_size=8, evaluate_epochs=False)
STEPS = 50  # of an epoch: 400 digits in batches of 8


@pytest.mark.slow
def test_metrics_catch_up_after_an_outage(
    here: pytest.MonkeyPatch,
    digits: Path,
    settings: Settings,
    mlflow_server: Servers,
    unique: str,
) -> None:
    """Training goes on without MLflow, and all its epochs and its bill are there in the end."""
    here.setenv("OPPEN_EXECUTION_ID", unique)
    images, run = opened(digits, CONFIG, name=unique, checkpoint_seconds=0.2)
    trained_while_away: list[int] = []
    outage = threading.Thread(target=stop_and_start, args=(mlflow_server, run, trained_while_away))

    outage.start()
    trained = train_classifier(run=run, images=images, config=CONFIG)
    outage.join()
    priced = price_run(run=run, trained=trained)

    assert trained_while_away[0] > 0
    assert trained.status == "completed"
    losses = history(settings, run.tracking_run, "train_loss")
    assert sorted(losses) == [STEPS * (epoch + 1) for epoch in range(CONFIG.epochs or 0)]
    assert priced.attempts == 1
    assert (
        '"outcome": "succeeded"'
        in read_run(settings, run.tracking_run).tags["oppen.attempt.train.000"]
    )


def stop_and_start(server: Servers, run: Run, trained: list[int]) -> None:
    """Stops MLflow once training is under way, and starts it again some steps later."""
    wait_for_step(run, 1)
    server.stop("mlflow")
    begin = newest_step(run)
    trained.append(wait_for_step(run, begin + 1) - begin)
    server.start("mlflow")


def wait_for_step(run: Run, step: int, *, patience_seconds: float = 60.0) -> int:
    """Returns the step of the newest checkpoint once it reaches `step`."""
    deadline = time.monotonic() + patience_seconds
    while (newest := newest_step(run)) < step:
        assert time.monotonic() < deadline, f"no checkpoint at step {step}"
        time.sleep(0.02)
    return newest


def newest_step(run: Run) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    saved = local_folder(run.execution).glob("step-*.safetensors")
    return max((int(path.name.split("-")[1]) for path in saved), default=0)

"""One rank of a run of the image loop, for tests that need real processes.

Reads its orders, a list of runs, as JSON from the first argument; prints one JSON line per run.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from torch import nn

from tests.training.image_runs import Notebook, small_data
from training import cnn
from training.checkpoint import CheckpointConfig
from training.classifier import ClassifierConfig, train_classifier
from training.distributed import Ranks, process_group
from training.reporter import Guard, Unlimited


class KillAt:
    """Kills the process as the kernel would: nothing is flushed, no handler runs."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:
        """Does not return at the step."""
        assert step < total_steps
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
        return None


class StopAt(KillAt):
    """Stops the run at the step."""

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:
        """Says so."""
        assert step < total_steps
        return "enough" if step == self.step else None


def run(order: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Carries out one order and returns what is to be compared."""
    if order.get("without_dropout"):
        cnn.ByteDropout = lambda _: nn.Identity()  # type: ignore[misc, assignment]
    folder = Path(order["folder"])
    guard: Guard = Unlimited()
    if "kill_at" in order:
        guard = KillAt(order["kill_at"])
    if "stop_at" in order:
        guard = StopAt(order["stop_at"])
    notebook = Notebook()
    result = train_classifier(
        ClassifierConfig(device="cpu", **order["config"]),
        small_data(train=order.get("train", 103)),
        out=folder / "model",
        ranks=ranks,
        checkpoint_folder=folder / "checkpoints",
        checkpoint_config=CheckpointConfig(every_steps=4),
        reporter=notebook,
        guard=guard,
    )
    return {
        "rank": ranks.rank,
        "status": result.status,
        "reason": result.stop_reason,
        "steps": result.steps,
        "resumed_from_step": result.resumed_from_step,
        "sha256": result.model_sha256,
        "history": [
            [epoch.train_loss, epoch.train_accuracy, epoch.test_loss, epoch.test_accuracy]
            for epoch in result.history
        ],
        "reports": len(notebook.steps) + len(notebook.records),
    }


if __name__ == "__main__":
    with process_group(timeout_seconds=60) as ranks:
        for order in json.loads(sys.argv[1]):
            print(json.dumps(run(order, ranks)), flush=True)
    # One that is left may need Python after its end, and abort the process.
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in threads), threads

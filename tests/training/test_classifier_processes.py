"""The image loop in real processes: killed and resumed, alone and as two ranks."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.image_runs import checkpoints_in

WORKER = Path(__file__).with_name("image_worker.py")
CONFIG = {"epochs": 3, "batch_size": 16, "learning_rate": 3e-3, "shift_pixels": 1}


def start(orders: list[dict[str, Any]], *, world_size: int) -> list[subprocess.Popen[str]]:
    """Starts the ranks of a run, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env |= {"WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(WORKER.parents[2])
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(orders)],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]


def results(orders: list[dict[str, Any]], *, world_size: int) -> list[list[dict[str, Any]]]:
    """Runs to the end and returns what each rank says of each order."""
    said = []
    for process in start(orders, world_size=world_size):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        said.append([json.loads(line) for line in out.splitlines()])
    return said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Reads the weights a run left."""
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "precision"), [(1, "bf16"), (2, "fp32")])
def test_killed_and_resumed_equals_undisturbed(
    tmp_path: Path, world_size: int, precision: str
) -> None:
    """After SIGKILL in mid-epoch, a new attempt ends with the same weights, bit for bit."""
    config = CONFIG | {"precision": precision}
    killed = {"folder": str(tmp_path / "killed"), "config": config}
    straight = {"folder": str(tmp_path / "straight"), "config": config}

    first = start([killed | {"kill_at": 11}], world_size=world_size)
    codes = [process.wait(timeout=60) for process in first]
    for process in first:
        process.communicate()
    assert codes[0] == -signal.SIGKILL
    assert all(code != 0 for code in codes), "no rank survives the death of another"
    assert checkpoints_in(tmp_path / "killed" / "checkpoints") == [4, 8]
    said = results([killed, straight], world_size=world_size)

    for resumed, undisturbed in said:
        assert resumed["resumed_from_step"] == 8
        assert undisturbed["resumed_from_step"] == 0
        assert resumed["sha256"] == undisturbed["sha256"]
        for now, then in zip(resumed["history"], undisturbed["history"], strict=True):
            assert now == pytest.approx(then, rel=1e-12)


@pytest.mark.slow
def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    """Two ranks follow the same gradients as one process, with odd batches and empty shares too.

    Without dropout and shifts nothing random is left within a step, so the weights must agree to
    rounding. Metrics are over all pictures, rank 0 alone reports, and all stop at one step.
    """
    plain = CONFIG | {"shift_pixels": 0, "precision": "fp32"}
    orders = [
        {"config": plain},
        {"config": plain | {"batch_size": 1, "epochs": 1}, "train": 9},
        {"config": plain, "stop_at": 9},
    ]

    def placed(root: str) -> list[dict[str, Any]]:
        return [
            order | {"folder": str(tmp_path / root / str(i)), "without_dropout": True}
            for i, order in enumerate(orders)
        ]

    (alone,) = results(placed("one"), world_size=1)
    main, other = results(placed("two"), world_size=2)

    for i in range(3):
        one, two = weights(tmp_path / "one" / str(i)), weights(tmp_path / "two" / str(i))
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
        for now, then in zip(main[i]["history"], alone[i]["history"], strict=True):
            assert now == pytest.approx(then, rel=1e-3)
        assert main[i]["reports"] == alone[i]["reports"] > 0
        assert other[i]["reports"] == 0
        for key in ("status", "reason", "steps", "sha256", "history"):
            assert main[i][key] == other[i][key]
    assert (main[2]["status"], main[2]["reason"], main[2]["steps"]) == ("stopped", "enough", 9)

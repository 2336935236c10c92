"""Loads stored models in a fresh process and compares their logits with those of training."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TOLERANCE = 1e-4
"""Logits of the same weights may differ by the order of additions on another processor."""


def largest_difference(folders: Sequence[Path], *, probe: Path) -> float:
    """Loads each model folder in a process of its own, and returns the largest logit difference.

    Args:
        folders: Models in MLflow's format.
        probe: safetensors with `images`, (N, H, W) uint8, and the `logits`, (N, K), to expect.

    Raises:
        ValueError: a model does not load, or a logit differs by more than `TOLERANCE`.
    """
    command = [sys.executable, "-m", "stores.reload", str(probe), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ValueError(f"the stored model does not load: {last}")
    differences: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    for folder, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the model in {Path(folder).name} gives logits that differ by {difference:.3g} "
                f"from those of training (allowed {TOLERANCE}); do not promote it"
            )
    return max(differences.values())


def main(arguments: Sequence[str]) -> None:
    """Prints the largest difference of each folder as one line of JSON."""
    import mlflow.pytorch
    import torch
    from safetensors.torch import load_file

    probe, *folders = arguments
    tensors = load_file(probe)
    differences = {}
    for folder in folders:
        model = mlflow.pytorch.load_model(folder)
        with torch.inference_mode():
            logits = model(tensors["images"])
        differences[folder] = float((logits - tensors["logits"]).abs().max())
    print(json.dumps(differences))


if __name__ == "__main__":
    main(sys.argv[1:])

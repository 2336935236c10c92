"""Loads stored models in a fresh process and compares their logits with those of training."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
"""Logits of the same weights may differ by the order of additions on another processor."""


def largest_difference(folders: Sequence[Path], *, probe: Path) -> float:
    """Loads each model folder in a process of its own, and returns the largest logit difference.

    Args:
        folders: Models in MLflow's format.
        probe: safetensors with the `logits` to expect, (N, K) of `images`, (N, H, W) uint8, or
            (N, T, V) of `tokens`, (N, T).

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
    import torch
    from safetensors.torch import load_file

    probe, *folders = arguments
    tensors = load_file(probe)
    compute = _image_logits if "images" in tensors else _token_logits
    differences = {}
    for folder in folders:
        with torch.inference_mode():
            logits = compute(folder, tensors)
        differences[folder] = float((logits - tensors["logits"]).abs().max())
    print(json.dumps(differences))


def _image_logits(folder: str, tensors: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    """Loads an exported program, which runs no stored code, and applies it: (N, H, W) to (N, K).

    torch reads what MLflow's own loader reads, and spares the process 2 s of MLflow's imports.
    """
    import torch

    program = torch.export.load(Path(folder) / "data" / "model.pt2")
    logits: torch.Tensor = program.module()(tensors["images"])
    return logits


def _token_logits(folder: str, tensors: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    """Loads a causal language model from safetensors and applies it: (N, T) to (N, T, V)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    logits: torch.Tensor = model.eval()(input_ids=tensors["tokens"]).logits
    return logits


if __name__ == "__main__":
    main(sys.argv[1:])

"""The best weights so far: kept in memory, and inside every checkpoint.

They travel with the checkpoint because a resumed attempt may run on another machine.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "best/"


class Best:
    """The trainable parameters at the highest score on the validation data."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.score: float | None = None
        self._weights: dict[str, Tensor] = {}

    def consider(self, score: float, step: int, parameters: Mapping[str, nn.Parameter]) -> bool:
        """Copies `parameters` to the CPU if `score` is higher than any before; says whether."""
        if self.score is not None and not score > self.score:
            return False
        self.step, self.score = step, score
        self._weights = {
            name: parameter.detach().to("cpu", copy=True) for name, parameter in parameters.items()
        }
        return True

    @torch.no_grad()
    def put_back(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Writes the best weights into `parameters`; does nothing before the first."""
        for name, weight in self._weights.items():
            parameters[name].copy_(weight)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by the names they have in a checkpoint."""
        return {f"{PREFIX}{name}": weight for name, weight in self._weights.items()}

    def state(self) -> dict[str, Any]:
        """Returns the rest of what a checkpoint needs."""
        return {"step": self.step, "score": self.score}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> "Best":
        """Returns what `tensors` and `state` of a checkpoint describe."""
        best = cls()
        best.step, best.score = state["step"], state["score"]
        best._weights = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(PREFIX)
        }
        return best

"""The best weights so far: kept in memory, and inside every checkpoint.

They travel with the checkpoint because a resumed attempt may run on another machine.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "best/"


class Best:
    """The trainable parameters at the lowest validation loss."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.loss: float | None = None
        self._weights: dict[str, Tensor] = {}

    def consider(self, loss: float, step: int, parameters: Mapping[str, nn.Parameter]) -> bool:
        """Copies `parameters` to the CPU if `loss` is lower than any before; says whether."""
        if self.loss is not None and not loss < self.loss:
            return False
        self.step, self.loss = step, loss
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
        return {"step": self.step, "loss": self.loss}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> "Best":
        """Returns what `tensors` and `state` of a checkpoint describe."""
        best = cls()
        best.step, best.loss = state["step"], state["loss"]
        best._weights = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(PREFIX)
        }
        return best

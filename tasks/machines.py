"""The table of machines: for each kind of task its image, resources, time limit and retries.

One row serves all tasks of a kind, so that a change of cluster is a change of one line. On one
machine (local execution) Flyte ignores all of it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flytekit import Resources
from flytekit.deck import DeckField
from flytekit.extras.accelerators import BaseAccelerator

DECK_FIELDS = (DeckField.SOURCE_CODE, DeckField.TIMELINE, DeckField.INPUT, DeckField.OUTPUT)
"""What Flyte adds to a task's own Decks. Not the list of packages: it runs pip twice, 2 s of
processor time in every pod; the lock file and the run's tags say the same."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one kind of task asks of the cluster."""

    role: str
    """The image by the name of its role: `training` (torch) or `tasks` (no torch)."""

    cores: int
    """CPU cores, requested and limited alike, so that the bill and the pod agree."""

    memory_gib: int
    """Memory in GiB, requested and limited alike: no pod is the first to be evicted."""

    gpus: int = 0
    """GPUs of each pod."""

    accelerator: BaseAccelerator | None = None
    """The GPU type to select nodes by, or None for any."""

    shared_memory: bool = False
    """Whether /dev/shm is as large as the pod's memory (loaders and NCCL need it)."""

    timeout: timedelta
    """After this the attempt is ended; it may include the time in the queue (flyte#1149)."""

    retries: int
    """Further attempts after a failure that may pass on its own."""

    interruptible: bool = False
    """Whether spot nodes are good enough whatever the execution asked for."""

    def options(self) -> dict[str, Any]:
        """Keyword arguments for `flytekit.task`."""
        options: dict[str, Any] = {
            "container_image": f"{{{{.image.{self.role}.fqn}}}}:{{{{.image.{self.role}.version}}}}",
            "requests": self._resources(),
            "limits": self._resources(),
            "timeout": self.timeout,
            "retries": self.retries,
            "deck_fields": DECK_FIELDS,
        }
        if self.interruptible:
            options["interruptible"] = True
        if self.accelerator is not None:
            options["accelerator"] = self.accelerator
        if self.shared_memory:
            options["shared_memory"] = True
        return options

    @property
    def accelerator_name(self) -> str:
        """The GPU type as the rate card names it."""
        if self.accelerator is None:
            return "generic"
        return str(self.accelerator.to_flyte_idl().device)

    def _resources(self) -> Resources:
        return Resources(
            cpu=str(self.cores),
            mem=f"{self.memory_gib}Gi",
            gpu=str(self.gpus) if self.gpus else None,
        )


LIGHT = Machine(
    role="tasks",
    cores=1,
    memory_gib=1,
    timeout=timedelta(minutes=30),
    retries=3,
)
"""Gate, price, register, store, publish: small, without torch, without a GPU."""

DATA = Machine(
    role="training",
    cores=2,
    memory_gib=4,
    timeout=timedelta(hours=2),
    retries=2,
    interruptible=True,
)
"""Preparation of data: cached, so a preempted attempt costs little."""

TORCH_CPU = Machine(
    role="training",
    cores=2,
    memory_gib=4,
    timeout=timedelta(hours=1),
    retries=2,
)
"""Evaluation, packaging and reload checks of small models: torch, but no GPU is held."""

SMALL_GPU = Machine(
    role="training",
    cores=2,
    memory_gib=4,
    gpus=1,
    shared_memory=True,
    timeout=timedelta(hours=6),
    retries=3,
)
"""Training of a small model on one GPU of any type; fits the quota of background runs."""

GPU = Machine(
    role="training",
    cores=4,
    memory_gib=16,
    gpus=1,
    shared_memory=True,
    timeout=timedelta(hours=24),
    retries=3,
)
"""Training and decoding on one GPU of any type."""

GPU_PAIR = Machine(
    role="training",
    cores=8,
    memory_gib=30,
    gpus=2,
    shared_memory=True,
    timeout=timedelta(hours=24),
    retries=3,
)
"""Elastic DDP on one node: one process for each of two GPUs."""

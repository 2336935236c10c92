"""How long steps take, without making a GPU wait to find out."""

import time
from collections.abc import Callable

import torch

from training.device import Placement

READING_STEPS = 50
"""Steps between two readings on a GPU: reading the loss or the time waits for it."""


class StepClock:
    """Times the steps of a loop: each one on a CPU, in windows on a GPU, which runs behind."""

    def __init__(
        self, placement: Placement, *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._is_behind = placement.device.type != "cpu"
        self._placement = placement
        self._now = now
        self._start = now()
        self._pending = 0
        self.seconds: list[float] = []
        """The time of each step so far, the mean of its window on a GPU."""

    def is_reading(self, step: int) -> bool:
        """Says whether the loss is read after the step numbered `step`."""
        return not self._is_behind or step % READING_STEPS == 0

    def tick(self, *, is_reading: bool) -> float:
        """Notes the end of a step and returns the seconds that became known by it."""
        self._pending += 1
        return self.flush() if is_reading else 0.0

    def flush(self) -> float:
        """Waits for the steps under way and returns the seconds that became known."""
        if not self._pending:
            self.skip()
            return 0.0
        if self._placement.is_cuda:
            torch.cuda.synchronize(self._placement.device)
        now = self._now()
        elapsed, self._start = now - self._start, now
        self.seconds += [elapsed / self._pending] * self._pending
        self._pending = 0
        return elapsed

    def rate(self, items: int) -> float:
        """Returns items per second where a step has `items`; 0 before the first reading."""
        return items / self.seconds[-1] if self.seconds else 0.0

    def skip(self) -> None:
        """Leaves out the time since the last reading: scoring, or writing a checkpoint."""
        self._start = self._now()

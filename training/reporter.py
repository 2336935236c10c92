"""How a loop speaks to the outside: what it reports, and who may ask it to stop.

A loop knows these two protocols and nothing of MLflow, Flyte or money. `stores.tracking` has a
Reporter that writes to MLflow, `accounting.budget` a Guard that counts dollars; both fit by shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a loop stands after a step."""

    step: int
    """Optimiser steps done so far, over all attempts."""

    total_steps: int
    """Optimiser steps of the whole run."""

    epoch: int
    """The running epoch, counted from 1."""

    epochs: int
    """Epochs of the whole run."""

    loss: float | None
    """Training loss, or None where reading it would stall the device."""

    items_per_second: float
    """Items of all ranks together: images or tokens, see `unit`."""

    unit: str = "images"
    """What `items_per_second` counts."""


class Reporter(Protocol):
    """Receives what rank 0 has to say. No method may block or raise because a server is away."""

    def step(self, progress: Progress) -> None:
        """Takes note of one finished step; called at every step, so it must be cheap."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Records named values (see each loop for its names) as of `step`."""

    def keep(self) -> None:
        """Makes what was reported up to now survive a kill of this process.

        Called before every checkpoint: an attempt that resumes from it reports nothing of what came
        before it again.
        """

    def close(self) -> None:
        """Flushes what is buffered; called once, also when the loop ends by an error."""


class Guard(Protocol):
    """May stop a run early. Rank 0 asks it before every step; all ranks follow the answer."""

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:
        """Says why the step numbered `step` must not start ("budget", "deadline"), or None."""


class Silence:
    """A Reporter that says nothing: for tests and for ranks other than 0."""

    def step(self, progress: Progress) -> None:
        """Ignores the step."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Ignores the values."""

    def keep(self) -> None:
        """Has nothing to keep."""

    def close(self) -> None:
        """Has nothing to flush."""


class Unlimited:
    """A Guard that never stops a run."""

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:  # noqa: ARG002 - the protocol's names
        """Always lets the step start."""
        return None


class Fanout:
    """Passes everything to several reporters in order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def step(self, progress: Progress) -> None:
        """Passes the step on."""
        for reporter in self._reporters:
            reporter.step(progress)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Passes the values on."""
        for reporter in self._reporters:
            reporter.metrics(values, step=step)

    def keep(self) -> None:
        """Lets every reporter keep what it was told."""
        for reporter in self._reporters:
            reporter.keep()

    def close(self) -> None:
        """Closes every reporter, the last one first."""
        for reporter in reversed(self._reporters):
            reporter.close()

"""What a person sees while a loop runs: a bar on a terminal, one line per epoch elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from training.reporter import Progress, Reporter

FEWEST_SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal, a long epoch says so now and then."""


def progress_reporter(stream: TextIO | None = None) -> Reporter:
    """Returns the reporter that suits `stream`, by default the standard error."""
    stream = stream or sys.stderr
    return ProgressBar(stream) if stream.isatty() else ProgressLines(stream)


class ProgressBar:
    """A bar with epoch, loss, speed and the time that is left."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = RichProgress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._loss: float | None = None
        self._speed = _Average()

    def step(self, progress: Progress) -> None:
        """Moves the bar."""
        epoch = f"{progress.epoch}/{progress.epochs}"
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(
                "train", total=progress.total_steps, epoch=epoch, numbers=""
            )
        self._loss = progress.loss if progress.loss is not None else self._loss
        speed = self._speed.add(progress.items_per_second)
        numbers = f"{speed:,.0f} {progress.unit}/s"
        if self._loss is not None:
            numbers = f"loss {self._loss:.4f}  {numbers}"
        self._bar.update(self._task, completed=progress.step, epoch=epoch, numbers=numbers)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Prints an epoch's numbers above the bar."""
        self._bar.console.print(_line(values, step), highlight=False)

    def keep(self) -> None:
        """Has nothing to keep."""

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.stop()


class ProgressLines:
    """Plain lines for logs: one per epoch, and one every ten seconds within a longer one."""

    def __init__(
        self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._now = now
        self._said_at = now()
        self._speed = _Average()

    def step(self, progress: Progress) -> None:
        """Says where a long epoch stands."""
        speed = self._speed.add(progress.items_per_second)
        if self._now() - self._said_at < FEWEST_SECONDS_BETWEEN_LINES:
            return
        loss = "" if progress.loss is None else f"  loss {progress.loss:.4f}"
        self._say(
            f"epoch {progress.epoch}/{progress.epochs}  "
            f"step {progress.step}/{progress.total_steps}{loss}  {speed:,.0f} {progress.unit}/s"
        )

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Says what an epoch came to."""
        self._say(_line(values, step))

    def keep(self) -> None:
        """Has nothing to keep."""

    def close(self) -> None:
        """Has nothing to flush."""

    def _say(self, line: str) -> None:
        self._said_at = self._now()
        print(line, file=self._stream, flush=True)


class _Average:
    """A moving average over about twenty values, so that a number can be read."""

    def __init__(self) -> None:
        self._value = math.nan

    def add(self, value: float) -> float:
        """Takes a value in and returns the average."""
        previous = value if math.isnan(self._value) else self._value
        self._value = previous + 0.05 * (value - previous)
        return self._value


def _line(values: Mapping[str, float], step: int) -> str:
    """Writes named values in the order they came: whole numbers as such, others to four digits."""
    words = [f"{name} {_number(value)}" for name, value in values.items()]
    return "  ".join([f"step {step}", *words])


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

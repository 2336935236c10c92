"""Writes the progress of a loop to MLflow from a thread of its own.

The loop only appends to a list. A server that is away costs it nothing: metrics wait in memory,
then in a file, and are delivered when the server returns, at the latest by the next attempt or by
`stores.tracking.log_final`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from stores.metric_spool import BATCH, read_spooled, send, sent_file, spool, spool_path
from stores.mlflow_api import MlflowApi, TrackingUnavailable, metric_entry
from stores.settings import Settings

_log = logging.getLogger(__name__)

STEP_SECONDS = 2.0
SYSTEM_SECONDS = 10.0
_FLUSH_SECONDS = 0.5
_TIMEOUT_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 15.0
_MEMORY_POINTS = 20_000  # about 6 MB; what comes on top goes to the file at once
_PROGRESS_POINTS = 2_000  # an hour of steps at most; the oldest give way


class Step(Protocol):
    """What the reporter reads of a step; `training.reporter.Progress` has it."""

    @property
    def step(self) -> int:
        """Optimiser steps done so far."""

    @property
    def epoch(self) -> int:
        """The running epoch."""

    @property
    def loss(self) -> float | None:
        """Training loss, or None."""

    @property
    def items_per_second(self) -> float:
        """Speed."""

    @property
    def unit(self) -> str:
        """What the speed counts."""


class MlflowReporter:
    """A Reporter of the loops that delivers to an MLflow run.

    Metrics given to `metrics` are never lost while the process lives, and those before the last
    `keep` never while the machine lives; steps are thinned out to one in `step_seconds` and written
    as `progress/...`.

    Args:
        settings: where MLflow is.
        run_id: the run.
        spool_file: where undelivered metrics wait; by default in the temporary folder.
        step_seconds: shortest time between two recorded steps.
        system_seconds: time between two samples of processor and memory; 0 for none.
        close_seconds: longest wait of `close` for the server.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        *,
        spool_file: Path | None = None,
        step_seconds: float = STEP_SECONDS,
        system_seconds: float = SYSTEM_SECONDS,
        close_seconds: float = 15.0,
    ) -> None:
        self._api = MlflowApi(settings, timeout_seconds=_TIMEOUT_SECONDS, retries=0)
        self._run_id = run_id
        self._spool_file = spool_file or spool_path(run_id)
        self._step_seconds = step_seconds
        self._close_seconds = close_seconds
        self._lock = threading.Lock()
        self._points: list[dict[str, Any]] = []
        self._progress: deque[dict[str, Any]] = deque(maxlen=_PROGRESS_POINTS)
        self._next_step = 0.0
        self._last_step = 0
        self._away = False
        self._closed = threading.Event()
        self._sampler = _Sampler(system_seconds)
        self._thread = threading.Thread(target=self._run, name="mlflow-reporter", daemon=True)
        self._thread.start()

    def step(self, progress: Step) -> None:
        """Takes note of a step, at most one in `step_seconds`."""
        self._last_step = progress.step
        now = time.monotonic()
        if now < self._next_step:
            return
        self._next_step = now + self._step_seconds
        values = {
            "progress/epoch": float(progress.epoch),
            f"progress/{progress.unit}_per_second": progress.items_per_second,
        }
        if progress.loss is not None:
            values["progress/loss"] = progress.loss
        self._progress.extend(_points(values, progress.step))

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Records values; they are delivered sooner or later."""
        with self._lock:
            self._points.extend(_points(values, step))
            overflow = self._points[:-_MEMORY_POINTS]
            del self._points[: len(overflow)]
        spool(self._spool_file, overflow)

    def keep(self) -> None:
        """Moves what waits to the file, so that a kill from now on loses none of it.

        What is on its way just now may be sent again; MLflow keeps it once.
        """
        with self._lock:
            spool(self._spool_file, self._points)
            self._points = []

    def close(self) -> None:
        """Delivers what is left, waits no longer than `close_seconds`, and spools the rest."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join(self._close_seconds + _TIMEOUT_SECONDS)
        with self._lock:
            left, self._points = self._points, []
        spool(self._spool_file, left)
        if left or self._spool_file.exists() or sent_file(self._spool_file).exists():
            _log.warning("metrics that MLflow did not take wait in %s", self._spool_file)
        self._api.close()

    def _run(self) -> None:
        """Delivers until closed; then until all is delivered or the time is up."""
        pause = _FLUSH_SECONDS
        while not self._closed.wait(pause):
            self._progress.extend(self._sampler.sample(self._last_step))
            pause = _FLUSH_SECONDS if self._deliver() else min(2 * pause, _LONGEST_PAUSE_SECONDS)
        deadline = time.monotonic() + self._close_seconds
        while not self._deliver() and time.monotonic() < deadline:
            time.sleep(_FLUSH_SECONDS)

    def _deliver(self) -> bool:
        """Sends what waits, metrics first; False when the server is away."""
        try:
            self._deliver_points()
            self._deliver_spooled()
            self._deliver_progress()
        except TrackingUnavailable as error:
            if not self._away:
                _log.warning("%s; training goes on, its metrics wait", error)
            self._away = True
            return False
        self._away = False
        return True

    def _deliver_points(self) -> None:
        while True:
            with self._lock:
                batch = self._points[:BATCH]
            if not batch:
                return
            send(self._api, self._run_id, batch)
            with self._lock:
                sent = {id(point) for point in batch}  # overflow may have taken some meanwhile
                self._points = [point for point in self._points if id(point) not in sent]

    def _deliver_spooled(self) -> None:
        sent = sent_file(self._spool_file)
        while True:
            with self._lock:  # `metrics` and `keep` write to a new file from here on
                if not sent.exists():
                    if not self._spool_file.exists():
                        return
                    self._spool_file.replace(sent)
            send(self._api, self._run_id, read_spooled(sent))
            sent.unlink()

    def _deliver_progress(self) -> None:
        batch = [self._progress.popleft() for _ in range(min(BATCH, len(self._progress)))]
        if not batch:
            return
        try:
            send(self._api, self._run_id, batch)
        except TrackingUnavailable:
            # Older points than those that came meanwhile; the deque drops what does not fit.
            self._progress.extendleft(reversed(batch))
            raise


class _Sampler:
    """Reads processor and memory use of this machine now and then, where psutil is installed."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._next = time.monotonic() + every_seconds
        self._is_on = every_seconds > 0

    def sample(self, step: int) -> list[dict[str, Any]]:
        """Returns points named as MLflow's System metrics page expects them, or none."""
        if not self._is_on or time.monotonic() < self._next:
            return []
        self._next = time.monotonic() + self._every_seconds
        try:
            import psutil
        except ImportError:
            self._is_on = False
            return []
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": memory.percent,
        }
        return _points(values, step)


def _points(values: Mapping[str, float], step: int) -> list[dict[str, Any]]:
    now = time.time_ns() // 1_000_000
    return [metric_entry(key, value, timestamp_ms=now, step=step) for key, value in values.items()]

"""The ledger of attempts: each is a tag of the MLflow run, refreshed while the attempt lives.

A killed attempt leaves its last sign of life behind, and is billed up to it.
"""

import json
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stores.mlflow_api import MlflowApi, TrackingRefused, TrackingUnavailable
from stores.settings import Settings

PREFIX = "oppen.attempt."
HEARTBEAT_SECONDS = 5.0
_TIMEOUT_SECONDS = 5.0

_log = logging.getLogger(__name__)


class AttemptLedger:
    """Keeps the record of one attempt up to date from a thread of its own.

    No method waits for a server that is away, except `finish`, and that one not for long: a record
    that could not be delivered stays in a file that `read_attempts` on this machine reads.

    Args:
        settings: where MLflow is.
        run_id: the run the attempt belongs to.
        task: name of the task.
        number: tries of the task before this one.
        heartbeat_seconds: time between two signs of life.
        finish_seconds: longest wait of `finish` for the server.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        *,
        task: str,
        number: int,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        finish_seconds: float = 20.0,
    ) -> None:
        if not re.fullmatch(r"[\w.-]+", task):
            raise ValueError(f"task is {task!r}: use letters, digits, dots, dashes, underscores")
        self._api = MlflowApi(settings, timeout_seconds=_TIMEOUT_SECONDS, retries=0)
        self._run_id = run_id
        self._key = f"{PREFIX}{task}.{number:03d}"
        self._file = _folder(run_id) / f"{task}.{number:03d}.json"
        self._heartbeat_seconds = heartbeat_seconds
        self._finish_seconds = finish_seconds
        self._lock = threading.Lock()
        self._record: dict[str, Any] = {}
        self._wake = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attempt-ledger", daemon=True)

    def start(self, record: Mapping[str, Any]) -> None:
        """Writes the first record and begins to refresh its `end`."""
        self._record = dict(record)
        _write(self._file, self._record)
        self._thread.start()
        self._wake.set()

    def update(self, record: Mapping[str, Any]) -> None:
        """Replaces the record; it is written at once."""
        with self._lock:
            self._record = dict(record)
        self._wake.set()

    def finish(self, record: Mapping[str, Any]) -> None:
        """Writes the last record, whose `end` is kept as given."""
        self._done.set()
        self._wake.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)
        _write(self._file, dict(record))
        deadline = time.monotonic() + self._finish_seconds
        while not self._deliver(dict(record)):
            if time.monotonic() > deadline:
                _log.warning("the bill of this attempt waits in %s: MLflow is away", self._file)
                break
            time.sleep(0.5)
        self._api.close()

    def _run(self) -> None:
        while not self._done.is_set():
            self._wake.wait(self._heartbeat_seconds)
            self._wake.clear()
            if self._done.is_set():
                return
            with self._lock:
                record = self._record | {"end": datetime.now(UTC).isoformat()}
            _write(self._file, record)
            self._deliver(record)

    def _deliver(self, record: Mapping[str, Any]) -> bool:
        """Sends a record, and drops its copy on disk; False when the server is away."""
        try:
            self._api.post(
                "runs/set-tag", run_id=self._run_id, key=self._key, value=json.dumps(record)
            )
        except TrackingUnavailable:
            return False
        except TrackingRefused as error:
            _log.warning("the attempt cannot be recorded: %s", error)
            return True
        self._file.unlink(missing_ok=True)
        return True


def read_attempts(settings: Settings, run_id: str, *, over: bool = False) -> list[dict[str, Any]]:
    """Returns the records of a run's attempts, by start.

    A record that waits on this machine counts where it is newer than MLflow's; it is delivered
    unless its attempt may still be alive.

    Args:
        settings: Where MLflow is.
        run_id: The run.
        over: Whether no attempt of the run is alive, so that MLflow may have every record.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    with MlflowApi(settings) as api:
        run = api.get("runs/get", run_id=run_id)["run"]
        tags = run.get("data", {}).get("tags", ())
        records = {
            tag["key"]: json.loads(tag["value"]) for tag in tags if tag["key"].startswith(PREFIX)
        }
        for file in sorted(_folder(run_id).glob("*.json")):
            key, waiting = f"{PREFIX}{file.stem}", json.loads(file.read_text(encoding="utf-8"))
            if key in records and records[key]["end"] >= waiting["end"]:
                continue
            records[key] = waiting
            if over or waiting.get("outcome") != "running" or _is_abandoned(file):
                api.post("runs/set-tag", run_id=run_id, key=key, value=json.dumps(waiting))
                file.unlink(missing_ok=True)
    return sorted(records.values(), key=lambda record: str(record["start"]))


def _is_abandoned(file: Path) -> bool:
    """Tells whether nobody refreshed a record for much longer than a heartbeat takes."""
    return time.time() - file.stat().st_mtime > 10 * HEARTBEAT_SECONDS


def _folder(run_id: str) -> Path:
    return Path(tempfile.gettempdir()) / f"oppen-{os.getuid()}" / f"{run_id}.attempts"


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(path)

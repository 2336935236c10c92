"""Metrics that could not be delivered wait in a file, one JSON object a line, until they can be.

MLflow keeps one point per key, step, time and value, so that sending a line twice changes nothing.
"""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stores.mlflow_api import MlflowApi, TrackingRefused
from stores.settings import Settings

BATCH = 1000
"""Metrics in one request: MLflow takes no more."""

_log = logging.getLogger(__name__)


def spool_path(run_id: str) -> Path:
    """Returns the default place of a run's undelivered metrics on this machine."""
    return Path(tempfile.gettempdir()) / f"oppen-{os.getuid()}" / f"{run_id}.metrics.jsonl"


def spool(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Appends points and flushes them to disk."""
    if not points:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(point) + "\n" for point in points)
        file.flush()
        os.fsync(file.fileno())


def read_spooled(path: Path) -> list[dict[str, Any]]:
    """Reads the points of a file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            _log.warning("a cut line of %s is left out", path)
    return points


def replay_spooled(settings: Settings, run_id: str, path: Path | None = None) -> int:
    """Delivers what waits for a run, removes the file, and returns the number of points.

    Raises:
        TrackingUnavailable: MLflow does not answer; the file stays.
    """
    path = path or spool_path(run_id)
    num_points = 0
    for file in (sent_file(path), path):
        points = read_spooled(file)
        if points:
            with MlflowApi(settings) as api:
                send(api, run_id, points)
        file.unlink(missing_ok=True)
        num_points += len(points)
    return num_points


def sent_file(path: Path) -> Path:
    """Returns where a spool lies while it is sent: a kill meanwhile must not lose it."""
    return path.with_suffix(".sent")


def send(api: MlflowApi, run_id: str, points: Sequence[dict[str, Any]]) -> None:
    """Sends points in batches; one that MLflow refuses is left out with a warning, not the batch.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    for first in range(0, len(points), BATCH):
        _send_batch(api, run_id, points[first : first + BATCH])


def _send_batch(api: MlflowApi, run_id: str, batch: Sequence[dict[str, Any]]) -> None:
    try:
        api.post("runs/log-batch", run_id=run_id, metrics=list(batch))
    except TrackingRefused as error:
        if len(batch) == 1:
            _log.warning("metric %r is left out: %s", batch[0]["key"], error)
            return
        half = len(batch) // 2
        _send_batch(api, run_id, batch[:half])
        _send_batch(api, run_id, batch[half:])

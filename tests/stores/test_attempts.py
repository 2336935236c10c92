"""The ledger of attempts, against a real server: killed ones keep their last sign of life."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operations.servers import Servers
from stores import tracking
from stores.attempts import AttemptLedger, read_attempts
from stores.mlflow_api import TrackingUnavailable
from stores.settings import Settings


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting records of these tests lie apart from those of others."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def server(mlflow_server: Servers) -> Settings:
    """Settings of MLflow alone."""
    return Settings(mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri)


@pytest.fixture
def run_id(server: Settings) -> str:
    """A fresh run."""
    name = f"x{uuid.uuid4().hex[:12]}"
    return tracking.open_run(server, experiment="attempts", execution=name, name=name).run_id


def record(number: int = 0, outcome: str = "running", **more: Any) -> dict[str, Any]:
    """A record as `accounting.usage` writes it, in short."""
    start = datetime(2026, 11, 21, 12, number, tzinfo=UTC).isoformat()
    return {
        "task": "train",
        "number": number,
        "start": start,
        "end": start,
        "outcome": outcome,
        **more,
    }


def ledger(settings: Settings, run_id: str, number: int = 0, **more: Any) -> AttemptLedger:
    """A ledger with a quick heart."""
    return AttemptLedger(
        settings, run_id, task="train", number=number, **({"heartbeat_seconds": 0.2} | more)
    )


def test_attempts_are_read_as_they_were_written(server: Settings, run_id: str) -> None:
    """Two attempts in order of their start; the end of a finished one is kept as given."""
    second, first = ledger(server, run_id, 1), ledger(server, run_id, 0)
    second.start(record(1))
    second.finish(record(1, "succeeded", cores="2"))
    first.start(record(0))
    first.finish(record(0, "failed"))

    assert read_attempts(server, run_id) == [record(0, "failed"), record(1, "succeeded", cores="2")]


def test_an_update_is_kept_by_the_heartbeat(server: Settings, run_id: str) -> None:
    """What an attempt learns on its way stays in its record while the end moves on."""
    book = ledger(server, run_id)
    book.start(record())
    book.update(record(last_checkpoint="now"))
    time.sleep(1)
    [seen] = read_attempts(server, run_id)
    book.finish(record(outcome="stopped"))

    assert seen["last_checkpoint"] == "now"
    assert datetime.now(UTC) - datetime.fromisoformat(seen["end"]) < timedelta(seconds=10)


def test_a_killed_attempt_keeps_its_last_sign_of_life(server: Settings, run_id: str) -> None:
    """After `kill -9` the record is there, running, with an end of moments ago."""
    code = (
        "import sys, time; from stores.attempts import AttemptLedger; "
        "from stores.settings import Settings; "
        "book = AttemptLedger(Settings(mlflow_tracking_uri=sys.argv[1]), sys.argv[2], "
        "task='train', number=0, heartbeat_seconds=0.2); "
        "book.start({'start': '2026-11-21', 'end': '2026-11-21', 'outcome': 'running'}); "
        "print('started', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, server.tracking_uri(), run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.5)
        killed = datetime.now(UTC)
        os.kill(process.pid, signal.SIGKILL)

    [left] = read_attempts(server, run_id)
    end = datetime.fromisoformat(left["end"])
    assert left["outcome"] == "running"
    assert killed - timedelta(seconds=3) < end <= killed + timedelta(seconds=1)


def test_an_outage_leaves_no_gap(server: Settings, run_id: str) -> None:
    """An attempt that begins and ends while MLflow is away is billed all the same."""
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    book = ledger(away, run_id, finish_seconds=0.1)
    begun = time.monotonic()
    book.start(record())
    book.update(record())
    assert time.monotonic() - begun < 1
    book.finish(record(outcome="succeeded"))

    assert read_attempts(server, run_id) == [record(outcome="succeeded")]
    assert tracking.read_run(server, run_id).tags["oppen.attempt.train.000"]


def test_the_end_of_a_living_attempt_is_not_overwritten(server: Settings, run_id: str) -> None:
    """Reading while an attempt lives does not undo what it writes at its end."""
    book = ledger(server, run_id)
    book.start(record())
    for _ in range(20):
        read_attempts(server, run_id)
    book.finish(record(outcome="succeeded"))
    read_attempts(server, run_id)
    assert read_attempts(server, run_id) == [record(outcome="succeeded")]


def test_what_a_killed_attempt_left_on_disk_reaches_mlflow_with_the_bill(
    server: Settings, run_id: str
) -> None:
    """A kill between the write and the delivery: the bill and MLflow's records say the same."""
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    book = ledger(away, run_id, heartbeat_seconds=60.0, finish_seconds=0.1)
    book.start(record())
    while (left := read_attempts(server, run_id)) == [record()]:
        time.sleep(0.05)  # until its first sign of life
    assert "oppen.attempt.train.000" not in tracking.read_run(server, run_id).tags

    assert read_attempts(server, run_id, over=True) == left
    delivered = tracking.read_run(server, run_id).tags["oppen.attempt.train.000"]
    assert [json.loads(delivered)] == left
    book.finish(record(outcome="stopped"))


def test_reading_needs_the_server() -> None:
    """A bill without the ledger would be wrong, so a server that is away is an error."""
    away = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("urllib3.Retry.sleep", lambda *_: None)
        with pytest.raises(TrackingUnavailable):
            read_attempts(away, "x")


def test_a_task_name_that_mlflow_cannot_hold_is_refused() -> None:
    """The name becomes part of a tag and of a file name."""
    with pytest.raises(ValueError, match="task is 'a/b'"):
        AttemptLedger(Settings(), "r", task="a/b", number=0)

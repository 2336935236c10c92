# ruff: noqa: S310 - the addresses are loopback servers of the test
"""The chart's S3 server and scripts for real: rendered arguments, SeaweedFS, SQLite."""

import gzip
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from minio import Minio
from minio.error import S3Error
from rendering import CHART, Render, find

LOGIN = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running SeaweedFS with the chart's arguments."""

    endpoint: str
    metrics: str
    process: psutil.Process
    ports: dict[str, int]

    def client(self, **login: str) -> Minio:
        """A client with the right login or another."""
        return Minio(
            endpoint=self.endpoint.removeprefix("http://"),
            access_key=login.get("key", LOGIN["AWS_ACCESS_KEY_ID"]),
            secret_key=login.get("secret", LOGIN["AWS_SECRET_ACCESS_KEY"]),
            secure=False,
        )

    def run(self, script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the chart's scripts as its container would."""
        return subprocess.run(
            [sys.executable, CHART / "files" / script, *arguments],
            env={**os.environ, **LOGIN, "OPPEN_S3_ENDPOINT": self.endpoint, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def free_ports(count: int) -> list[int]:
    """Ports that are free now, and free 10,000 above, where SeaweedFS puts its gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1] % 20000 + 20000
            try:
                high.bind(("127.0.0.1", port + 10000))
                low.close()
                with socket.socket() as again:
                    again.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


@pytest.fixture(scope="module")
def server(template: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SeaweedFS with the arguments of the rendered Deployment; only ports and folder differ."""
    folder = tmp_path_factory.mktemp("s3")
    spec = find(template(), "Deployment", "oppen-s3")["spec"]["template"]["spec"]
    names = ["s3", "metrics", "master", "volume", "filer"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    replaced = {
        "-dir": str(folder),
        "-s3.port": str(ports["s3"]),
        "-metricsPort": str(ports["metrics"]),
    }
    arguments = []
    for argument in spec["containers"][0]["args"]:
        name = argument.split("=")[0]
        arguments.append(f"{name}={replaced.pop(name)}" if name in replaced else argument)
    assert replaced == {}
    arguments += [f"-{name}.port={ports[name]}" for name in ("master", "volume", "filer")]
    weed = Path(sys.executable).with_name("weed")
    with (folder / "log").open("w") as log, subprocess.Popen(
        [weed, *arguments], env={**os.environ, **LOGIN}, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            endpoint = f"http://127.0.0.1:{ports['s3']}"
            probe = spec["containers"][0]["readinessProbe"]["httpGet"]["path"]
            wait_for(f"{endpoint}{probe}", process)
            yield Server(
                endpoint=endpoint,
                metrics=f"http://127.0.0.1:{ports['metrics']}/metrics",
                process=psutil.Process(process.pid),
                ports=ports,
            )
        finally:
            # A clean end takes SeaweedFS 15 s, and nobody needs this data again.
            process.kill()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until an address answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "SeaweedFS ended: it does not take the chart's arguments"
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"{address} never answered")


def test_only_s3_and_metrics_listen_outside_the_pod(server: Server) -> None:
    """Master, filer and volume server, which ask for no login, are bound to the loopback."""
    listening = [c for c in server.process.net_connections("tcp") if c.status == "LISTEN"]
    outside = {c.laddr.port for c in listening if c.laddr.ip not in ("127.0.0.1", "::1")}
    # S3's own gRPC port cannot be bound elsewhere; no NetworkPolicy lets anyone reach it.
    assert outside == {server.ports["s3"], server.ports["metrics"], server.ports["s3"] + 10000}


def test_buckets_are_made_once(server: Server) -> None:
    """The job creates what is missing, finds it on the next run, and names a wrong login."""
    first = server.run("s3_bucket.py", "oppen", "flyte")
    assert first.stdout == "bucket oppen: created\nbucket flyte: created\n", first.stderr
    assert server.run("s3_bucket.py", "oppen", "flyte").stdout.count("exists") == 2
    wrong = server.run("s3_bucket.py", "oppen", AWS_SECRET_ACCESS_KEY="wrong-secret")
    assert wrong.returncode == 1
    assert "check the Secret" in wrong.stderr


def test_a_login_is_asked_for(server: Server) -> None:
    """Neither an unknown key nor a wrong secret gets in; the right one does."""
    for wrong in ({"key": "other"}, {"secret": "wrong"}):
        with pytest.raises(S3Error):
            server.client(**wrong).list_buckets()
    server.client().list_buckets()


def test_the_metrics_of_alerts_and_dashboard_are_served(server: Server) -> None:
    """SeaweedFS counts requests under the name and labels that the dashboard asks for."""
    server.client().list_buckets()
    with urllib.request.urlopen(server.metrics, timeout=5) as page:
        text = page.read().decode()
    line = next(one for one in text.splitlines() if one.startswith("SeaweedFS_s3_request_total{"))
    assert 'code="' in line
    assert 'type="' in line


@pytest.fixture
def bucket(server: Server) -> Iterator[str]:
    """A bucket of the test's own."""
    name = f"test-{time.time_ns()}"
    server.client().make_bucket(bucket_name=name)
    return name


def listed(server: Server, bucket: str) -> list[str]:
    """Names of the copies."""
    items = server.client().list_objects(bucket_name=bucket, recursive=True)
    return sorted(item.object_name or "" for item in items)


def test_a_backup_of_a_busy_database_can_be_restored(
    server: Server, bucket: str, tmp_path: Path
) -> None:
    """While another process writes, the copy is whole; restored, it opens and holds the rows."""
    path = tmp_path / "mlflow.db"
    writer = sqlite3.connect(path, check_same_thread=False)
    writer.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, note TEXT)")
    writer.executemany("INSERT INTO runs (note) VALUES (?)", [("x" * 1000,)] * 2000)
    writer.commit()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer.execute("INSERT INTO runs (note) VALUES ('later')")
            writer.commit()
            stop.wait(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        done = server.run("backup.py", f"sqlite:///{path}", "--bucket", bucket)
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert done.returncode == 0, done.stderr
    assert "read back and compared" in done.stdout

    back = tmp_path / "restored.db"
    done = server.run("backup.py", str(back), "--bucket", bucket, "--restore", "newest")
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(back) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert restored.execute("SELECT count(*) FROM runs").fetchone()[0] >= 2000


def test_a_restore_replaces_nothing(server: Server, bucket: str, tmp_path: Path) -> None:
    """A file that is there stays; the message says to move it away."""
    there = tmp_path / "mlflow.db"
    there.write_text("precious")
    done = server.run("backup.py", str(there), "--bucket", bucket, "--restore", "newest")
    assert done.returncode != 0
    assert "move it away" in done.stderr
    assert there.read_text() == "precious"


def test_a_damaged_copy_is_refused(server: Server, bucket: str, tmp_path: Path) -> None:
    """A copy whose bytes changed in the store no longer has the SHA-256 of its name."""
    dump = tmp_path / "mlflow.dump"
    dump.write_bytes(b"good")
    assert server.run("backup.py", str(dump), "--bucket", bucket).returncode == 0
    (name,) = listed(server, bucket)
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b"evil"))
    server.client().fput_object(bucket_name=bucket, object_name=name, file_path=str(other))
    back = tmp_path / "back"
    done = server.run("backup.py", str(back), "--bucket", bucket, "--restore", "newest")
    assert "take another copy" in done.stderr
    assert not back.exists()


def test_old_copies_go_after_the_new_one_is_safe(
    server: Server, bucket: str, tmp_path: Path
) -> None:
    """`--keep 2` leaves the two newest; a failed backup deletes nothing."""
    dump = tmp_path / "mlflow.dump"
    client = server.client()
    dump.write_bytes(b"now")
    for day in ("20260101", "20260102", "20260103"):
        client.fput_object(
            bucket_name=bucket,
            object_name=f"backups/mlflow/{day}T031500Z.dump.0.gz",
            file_path=str(dump),
        )
    missing = server.run("backup.py", f"sqlite:///{tmp_path}/none.db", "--bucket", bucket)
    assert "no database at" in missing.stderr
    assert len(listed(server, bucket)) == 3
    assert server.run("backup.py", str(dump), "--bucket", bucket, "--keep", "2").returncode == 0
    kept = listed(server, bucket)
    assert len(kept) == 2
    assert kept[0].startswith("backups/mlflow/20260103")


def test_a_backup_of_nothing_to_keep_is_refused(server: Server, bucket: str) -> None:
    """`--keep 0` would delete the copy just made."""
    done = server.run("backup.py", "anything", "--bucket", bucket, "--keep", "0")
    assert done.returncode == 2
    assert "use 1 or more" in done.stderr


def test_large_objects_fit_in_both_buckets(server: Server, tmp_path: Path) -> None:
    """A model sent in parts arrives whole in either bucket, on a disk that is not large."""
    model = tmp_path / "model.bin"
    model.write_bytes(os.urandom(24 << 20))
    for bucket in (f"models-{time.time_ns()}", f"flyte-{time.time_ns()}"):
        client = server.client()
        client.make_bucket(bucket_name=bucket)
        client.fput_object(
            bucket_name=bucket, object_name="m", file_path=str(model), part_size=8 << 20
        )
        back = tmp_path / bucket
        client.fget_object(bucket_name=bucket, object_name="m", file_path=str(back))
        assert back.read_bytes() == model.read_bytes()

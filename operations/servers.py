"""The MLflow and S3 servers of one machine: `oppen servers up | down | status | run`.

They listen on loopback alone, keep their data under `.local`, and S3 takes only the keys that
were generated at the first start. `run` and `local_servers` use them where they run, and else
start and stop their own.
"""

import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from operations import supervision
from operations.exits import Exit
from operations.server_layout import (
    FREE_BYTES_NEEDED,
    LOOPBACK,
    NAMES,
    Layout,
    Ports,
    ServerError,
    is_taken,
    mlflow_command,
    s3_command,
    write_private,
)
from stores.settings import Settings

START_SECONDS = 120.0  # 8 s on an idle machine of 2 cores, 30 s where pages are cold
_DEAD = {"FATAL", "EXITED", "BACKOFF", "UNKNOWN"}
_TITLES = {"mlflow": "MLflow", "s3": "S3"}
_HEALTH_PATHS = {"mlflow": "/health", "s3": "/healthz"}
_PORT_VARIABLES = {"mlflow": "OPPEN_MLFLOW_PORT", "s3": "OPPEN_S3_PORT"}


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Servers that are up and healthy."""

    layout: Layout
    """Where their data, logs and keys lie."""

    ports: Ports
    """Where they listen."""

    @property
    def settings(self) -> Settings:
        """Addresses and keys, as the tasks read them."""
        return self.layout.settings(self.ports)

    def stop(self, name: str) -> None:
        """Stops one server and leaves the other."""
        supervision.stop_program(self.layout, name)

    def start(self, name: str) -> None:
        """Starts one server again and waits until it is healthy."""
        supervision.start_program(self.layout, name)
        _wait_healthy(self.layout, self.ports, [name], START_SECONDS)


def up(
    layout: Layout,
    ports: Ports,
    *,
    names: Sequence[str] = NAMES,
    start_seconds: float = START_SECONDS,
) -> Servers:
    """Starts what does not run yet and returns when every server is healthy.

    Servers that run already keep their ports. On any failure nothing is left running.

    Raises:
        ServerError: the disk is full, a port is taken, a program is missing, or a server dies or
            does not answer.
    """
    layout.create()
    with _locked(layout):
        running = _running(layout, names)
        try:
            if running is None:
                _start(layout, ports, names)
            for name in names if running else ():
                supervision.start_program(layout, name)
            _wait_healthy(layout, running or ports, names, start_seconds)
        except BaseException:
            supervision.stop_daemon(layout)
            raise
        servers = Servers(layout=layout, ports=running or ports)
        write_private(layout.env_file, _export_lines(servers.settings))
    return servers


def down(layout: Layout) -> bool:
    """Stops the servers and says whether any ran; their data stays."""
    if not (layout.root / "run").exists():
        return False
    with _locked(layout):
        ran = bool(supervision.marked_processes(layout))
        supervision.stop_daemon(layout)
    return ran


def status(layout: Layout) -> dict[str, str]:
    """Returns `healthy`, `starting` or `stopped` for each server."""
    ports = layout.read_ports()
    if ports is None or not supervision.is_running(layout):
        return dict.fromkeys(NAMES, "stopped")
    states = supervision.states(layout)
    return {name: _state_word(states.get(name), name, ports) for name in NAMES}


@contextmanager
def local_servers(
    root: Path | None = None, ports: Ports | None = None, *, names: Sequence[str] = NAMES
) -> Iterator[Servers]:
    """Gives healthy servers: those that run at `root`, or its own, which it stops at the end.

    A default port that somebody else uses is replaced by a free one.
    """
    layout = Layout.at(root)
    layout.create()
    running = _running(layout, names)
    wanted = ports or _with_free_ports(Ports.from_environment(), names)
    servers = up(layout, running or wanted, names=names)
    try:
        yield servers
    finally:
        if running is None:
            down(layout)


def _start(layout: Layout, ports: Ports, names: Sequence[str]) -> None:
    free = shutil.disk_usage(layout.root).free
    if free < FREE_BYTES_NEEDED:
        raise ServerError(
            f"{free >> 20} MiB are free on the disk of {layout.root}, the servers need "
            f"{FREE_BYTES_NEEDED >> 20}: free some, or set OPPEN_LOCAL to a folder on another disk"
        )
    supervision.stop_daemon(layout)  # what a killed supervisord or another choice of names left
    for name in names:
        if is_taken(ports.of(name)):
            raise ServerError(
                f"port {ports.of(name)} for {_TITLES[name]} is taken by another program: stop it, "
                f"or set {_PORT_VARIABLES[name]} to a free port"
            )
    layout.settings(ports)  # writes the keys that S3 reads at its start
    commands = {"mlflow": mlflow_command, "s3": s3_command}
    chosen = {name: commands[name](layout, ports.of(name)) for name in names}
    layout.ports_file.write_text(json.dumps(asdict(ports)))
    supervision.start_daemon(layout, chosen)


def _running(layout: Layout, names: Sequence[str]) -> Ports | None:
    """Returns the ports of the daemon that runs with these servers, or None."""
    ports = layout.read_ports()
    if ports is None or not supervision.is_running(layout):
        return None
    return ports if set(names) <= set(supervision.states(layout)) else None


def _with_free_ports(ports: Ports, names: Sequence[str]) -> Ports:
    free = Ports.free()
    return Ports(
        **{
            name: free.of(name) if name in names and is_taken(ports.of(name)) else ports.of(name)
            for name in NAMES
        }
    )


def _wait_healthy(layout: Layout, ports: Ports, names: Sequence[str], start_seconds: float) -> None:
    """Returns when every server answers; a process that ends or is replaced has died."""
    deadline = time.monotonic() + start_seconds
    waiting = list(names)
    pids: dict[str, int] = {}
    while waiting:
        states = supervision.states(layout)
        for name in list(waiting):
            pid = states[name]["pid"]
            died = states[name]["statename"] in _DEAD or (pid and pids.get(name, pid) != pid)
            if died:
                raise ServerError(f"{_TITLES[name]} died at its start: {_log_tail(layout, name)}")
            if pid:
                pids[name] = pid
            if _is_healthy(name, layout, ports):
                waiting.remove(name)
        if waiting and time.monotonic() > deadline:
            raise ServerError(
                f"{_TITLES[waiting[0]]} did not answer within {start_seconds:.0f} s: "
                f"{_log_tail(layout, waiting[0])}"
            )
        time.sleep(0.1)


def _is_healthy(name: str, layout: Layout, ports: Ports) -> bool:
    if not _answers(ports.of(name), _HEALTH_PATHS[name]):
        return False
    return name != "s3" or _takes_objects(layout.settings(ports))


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _takes_objects(settings: Settings) -> bool:
    """Makes the bucket and writes one object: SeaweedFS answers before it can store anything."""
    from io import BytesIO

    import urllib3
    from minio.error import MinioException

    from stores.objects import minio_client

    store = settings.object_store()
    pool = urllib3.PoolManager(timeout=5, retries=False)
    client = minio_client(store, pool)
    try:
        if not client.bucket_exists(store.bucket):
            client.make_bucket(store.bucket)
        client.put_object(store.bucket, ".ready", BytesIO(b"ready"), 5)
        client.remove_object(store.bucket, ".ready")
    except (MinioException, urllib3.exceptions.HTTPError):
        return False
    finally:
        pool.clear()
    return True


def _state_word(state: dict[str, object] | None, name: str, ports: Ports) -> str:
    if state is None or state["statename"] not in {"RUNNING", "STARTING"}:
        return "stopped"
    return "healthy" if _answers(ports.of(name), _HEALTH_PATHS[name]) else "starting"


def _log_tail(layout: Layout, name: str) -> str:
    """Returns the last line of a log that says something, and where to read the rest."""
    log = layout.log(name)
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it wrote nothing"]
    return f"{lines[-1][:200]} (see {log})"


def _export_lines(settings: Settings) -> str:
    import shlex

    lines = [f"export {key}={shlex.quote(v)}\n" for key, v in settings.to_environment().items()]
    return "".join(lines)


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    with layout.lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


servers_app = typer.Typer(
    name="servers",
    help="The MLflow and S3 servers of this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@servers_app.command("up")
def up_command() -> None:
    """Start MLflow and S3 on loopback and leave them running.

    Ports: `OPPEN_MLFLOW_PORT` (5000) and `OPPEN_S3_PORT` (8333). Example: `oppen servers up`
    """
    with _one_line_errors():
        servers = up(Layout.at(), Ports.from_environment())
        _print_addresses(servers)


@servers_app.command("down")
def down_command() -> None:
    """Stop the servers; their data stays.

    Example: `oppen servers down`
    """
    with _one_line_errors():
        typer.echo("servers stopped" if down(Layout.at()) else "no servers were running")


@servers_app.command("status")
def status_command() -> None:
    """Say which servers run; exit 1 unless all are healthy.

    Example: `oppen servers status`
    """
    words = status(Layout.at())
    for name, word in words.items():
        typer.echo(f"{_TITLES[name]}: {word}")
    if set(words.values()) != {"healthy"}:
        raise typer.Exit(Exit.FAILED)


@servers_app.command("run", context_settings={"ignore_unknown_options": True})
def run_command(
    command: Annotated[
        list[str], typer.Argument(help="The command and its arguments, after `--`.")
    ],
) -> None:
    """Run a command with the servers up and their addresses in its environment.

    Servers that run are used and left; else they are started, and stopped when it ends.

    Example: `oppen servers run -- pyflyte run workflows/mnist.py mnist_pipeline`
    """
    with _one_line_errors(), _sigterm_as_exit(), local_servers() as servers:
        environment = os.environ | servers.settings.to_environment()
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        except OSError as error:
            raise ServerError(f"cannot run {command[0]!r}: {error.strerror}") from error
    # A command that a signal ended counts as the shell counts it.
    raise typer.Exit(code if code >= 0 else 128 - code)


def _print_addresses(servers: Servers) -> None:
    settings = servers.settings
    typer.echo(f"MLflow: {settings.mlflow_tracking_uri}")
    typer.echo(f"S3:     {settings.s3_endpoint} (bucket {settings.s3_bucket})")
    typer.echo(f"Use them in a shell: . {os.path.relpath(servers.layout.env_file)}")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        typer.echo(f"oppen: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from error


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Lets `finally` run when the command is asked to end."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    servers_app(prog_name="oppen servers")

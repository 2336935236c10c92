"""Keeps the local servers running under supervisord, and talks to it over its Unix socket.

Supervisor is the process runner: it makes the daemon, restarts a server that crashes, keeps the
logs and stops whole process groups. Nothing here polls or forks.
"""

import hashlib
import http.client
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from operations.server_layout import MARK, Layout, ServerError

_SOCKET_PATH_LIMIT = 90  # sun_path holds 104 bytes on macOS, 108 on Linux


def start_daemon(layout: Layout, commands: Mapping[str, Sequence[str]]) -> None:
    """Starts supervisord with one program per command, and returns when it answers.

    Raises:
        ServerError: supervisord is missing or refuses to start.
    """
    layout.supervisor_config.write_text(_config(layout, commands))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(layout.supervisor_config)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=_environment(layout),
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"supervisord does not start: see {layout.log('supervisord')}") from None
    if "No module named" in done.stderr:
        raise ServerError(
            "the process runner is missing: pip install supervisor, or run `make setup`"
        )
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise ServerError(f"supervisord does not start: {reason[0]}")
    deadline = time.monotonic() + 10
    while not is_running(layout):
        if time.monotonic() > deadline:
            raise ServerError(f"supervisord does not answer: see {layout.log('supervisord')}")
        time.sleep(0.05)


def is_running(layout: Layout) -> bool:
    """Tells whether our supervisord answers."""
    try:
        _call(layout, "getPID")
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return False
    return True


def states(layout: Layout) -> dict[str, dict[str, Any]]:
    """Returns what supervisord knows of each program: `statename`, `pid`, `exitstatus`, ..."""
    return {info["name"]: info for info in _call(layout, "getAllProcessInfo")}


def start_program(layout: Layout, name: str) -> None:
    """Starts one program without waiting for it to be healthy."""
    with suppress(xmlrpc.client.Fault):  # it runs already
        _call(layout, "startProcess", name, False)


def stop_program(layout: Layout, name: str) -> None:
    """Stops one program and waits until it is gone."""
    with suppress(xmlrpc.client.Fault):  # it is stopped already
        _call(layout, "stopProcess", name, True)


def stop_daemon(layout: Layout) -> None:
    """Stops the programs and supervisord; returns when their processes and sockets are gone."""
    import psutil

    sockets = _sockets(marked_processes(layout))
    if is_running(layout):
        daemon = psutil.Process(_call(layout, "getPID"))
        _call(layout, "shutdown")
        with suppress(psutil.TimeoutExpired):
            daemon.wait(timeout=30)
    # A supervisord that was killed leaves its servers behind: they carry our mark.
    left = marked_processes(layout)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=5)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    for socket in {socket_path(layout), *sockets}:
        socket.unlink(missing_ok=True)


def marked_processes(layout: Layout) -> list[Any]:
    """Finds the processes that were started for this root folder, by the mark they carry."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(layout.root):
                found.append(process)
    return found


def socket_path(layout: Layout) -> Path:
    """Returns the control socket: beside the configuration, or in /tmp when that is too long."""
    path = layout.root / "run" / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(layout.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"oppen-{os.getuid()}-{name}.sock"


def _sockets(processes: Iterable[Any]) -> set[Path]:
    """Returns the Unix sockets of processes: SeaweedFS leaves six in /tmp at each end."""
    import psutil

    found = set()
    for process in processes:
        with suppress(psutil.Error, OSError):
            found |= {each.laddr for each in process.net_connections("unix")}
    return {Path(address) for address in found if address.startswith("/")}


def _call(layout: Layout, method: str, *arguments: Any) -> Any:
    from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

    transport = SupervisorTransport(None, None, f"unix://{socket_path(layout)}")
    try:
        server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        return getattr(server.supervisor, method)(*arguments)
    finally:
        transport.close()


def _environment(layout: Layout) -> dict[str, str]:
    """Returns the caller's environment, marked, with MLflow's extras switched off.

    Credentials of other servers stay out: `weed` would let in the keys of `AWS_ACCESS_KEY_ID`.
    """
    kept = {key: v for key, v in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_"))}
    return kept | {
        MARK: str(layout.root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }


def _config(layout: Layout, commands: Mapping[str, Sequence[str]]) -> str:
    programs = [_program(layout, name, command) for name, command in commands.items()]
    socket = _escaped(socket_path(layout))
    return f"""\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={_escaped(layout.log("supervisord"))}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={_escaped(layout.root / "run" / "supervisord.pid")}
childlogdir={_escaped(layout.root / "log")}
umask=077
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

{"".join(programs)}"""


def _program(layout: Layout, name: str, command: Sequence[str]) -> str:
    # SeaweedFS 4.48 never ends its graceful stop when filer and S3 share a process, although
    # its data is written by then: a short wait, then SIGKILL.
    return f"""\
[program:{name}]
command={_escaped(shlex.join(command))}
redirect_stderr=true
stdout_logfile={_escaped(layout.log(name))}
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
startsecs=1
startretries=0
autorestart=unexpected
exitcodes=0
stopwaitsecs={1 if name == "s3" else 8}
stopasgroup=true
killasgroup=true

"""


def _escaped(value: object) -> str:
    """Doubles the per cent signs, which the configuration would expand."""
    return str(value).replace("%", "%%")

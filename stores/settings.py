"""Where the servers are and how to sign in: one typed place, read from the environment once.

Every value may be absent until it is needed: pricing a run asks for no S3, so only
`tracking_uri()` and `object_store()` complain, and they name the variable to set.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

DEFAULT_BUCKET = "oppen"
DEFAULT_REGION = "us-east-1"

_VARIABLES = {
    "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
    "s3_endpoint": "OPPEN_S3_ENDPOINT",
    "s3_bucket": "OPPEN_S3_BUCKET",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_region": "AWS_REGION",
    "rates_path": "OPPEN_RATES",
    "git_repository": "OPPEN_GIT_REPOSITORY",
}
# The address of a repository may hold credentials.
_SECRET = frozenset({"aws_access_key_id", "aws_secret_access_key", "git_repository"})


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names the variable and how to mend it."""


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A complete set of S3 settings: host, bucket and keys."""

    host: str
    """Host and port, without the scheme: `127.0.0.1:8333`."""

    secure: bool
    """Whether the endpoint speaks TLS."""

    bucket: str
    """The bucket that holds every model version."""

    region: str
    """Region that signs the requests; known up front, it saves a request per client."""

    access_key_id: str
    """Public half of the key pair."""

    secret_access_key: str
    """Secret half of the key pair; never shown."""

    def __repr__(self) -> str:
        return f"ObjectStore(host={self.host!r}, secure={self.secure}, bucket={self.bucket!r})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Addresses and credentials of the servers outside Flyte."""

    mlflow_tracking_uri: str | None = None
    """Address of the MLflow server (`MLFLOW_TRACKING_URI`)."""

    s3_endpoint: str | None = None
    """Address of the S3 server with its scheme (`OPPEN_S3_ENDPOINT`)."""

    s3_bucket: str = DEFAULT_BUCKET
    """Bucket of the model versions (`OPPEN_S3_BUCKET`)."""

    aws_access_key_id: str | None = None
    """S3 access key (`AWS_ACCESS_KEY_ID`); masked in `repr`."""

    aws_secret_access_key: str | None = None
    """S3 secret key (`AWS_SECRET_ACCESS_KEY`); masked in `repr`."""

    aws_region: str = DEFAULT_REGION
    """S3 region (`AWS_REGION`)."""

    rates_path: Path | None = None
    """A rate card to use in place of the embedded one (`OPPEN_RATES`)."""

    git_repository: str | None = None
    """Repository that tells which agents' versions are in force (`OPPEN_GIT_REPOSITORY`)."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the variables that are set and not empty; `os.environ` where none are given."""
        environ = os.environ if environ is None else environ
        found = {
            name: environ[variable]
            for name, variable in _VARIABLES.items()
            if environ.get(variable)
        }
        rates = found.pop("rates_path", None)
        return cls(**found, rates_path=Path(rates) if rates else None)

    def tracking_uri(self) -> str:
        """Returns the address of MLflow.

        Raises:
            SettingsError: it is not set, or is not an http(s) address.
        """
        uri = self._needed("mlflow_tracking_uri", "http://127.0.0.1:5000")
        _parse_address(uri, variable="MLFLOW_TRACKING_URI", example="http://127.0.0.1:5000")
        return uri.rstrip("/")

    def object_store(self) -> ObjectStore:
        """Returns everything a client of S3 needs.

        Raises:
            SettingsError: one of the variables is not set, or the endpoint is malformed.
        """
        endpoint = self._needed("s3_endpoint", "http://127.0.0.1:8333")
        host, secure = _parse_address(
            endpoint, variable="OPPEN_S3_ENDPOINT", example="http://127.0.0.1:8333"
        )
        return ObjectStore(
            host=host,
            secure=secure,
            bucket=self.s3_bucket,
            region=self.aws_region,
            access_key_id=self._needed("aws_access_key_id", "the access key of the S3 server"),
            secret_access_key=self._needed(
                "aws_secret_access_key", "the secret key of the S3 server"
            ),
        )

    def to_environment(self) -> dict[str, str]:
        """Returns the variables that `from_environment` reads back to an equal object."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {_VARIABLES[name]: str(value) for name, value in values.items() if value is not None}

    def _needed(self, name: str, example: str) -> str:
        value = getattr(self, name)
        if not value:
            raise SettingsError(
                f"{_VARIABLES[name]} is not set: export it (for example {example}), "
                "or start the local servers with `make up` and load .local/env"
            )
        return str(value)

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            shown.append(
                f"{field.name}={'***' if value and field.name in _SECRET else repr(value)}"
            )
        return f"Settings({', '.join(shown)})"


def _parse_address(address: str, *, variable: str, example: str) -> tuple[str, bool]:
    """Splits an http(s) address into host:port and whether it is TLS, refusing anything else."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{variable} is not an http(s) address: write it like {example}")
    if parts.username or parts.password:
        raise SettingsError(f"{variable} holds credentials: keep them in variables of their own")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return (f"{host}:{port}" if port else host), parts.scheme == "https"

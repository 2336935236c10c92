"""Real servers that the tests share: each starts when a test first asks for it, once a session."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from operations.server_layout import Ports
from operations.servers import Servers, local_servers
from stores.settings import Settings


def pytest_configure(config: pytest.Config) -> None:
    """Lets a session that is asked to end stop its servers first, and gives it a folder of its own.

    flytekit, torchrun and MLflow leave files in the temporary folder; they go with the session.
    What pytest keeps of the last three sessions stays where it looks for it.
    """
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="oppen-tests-")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = folder

    def restore() -> None:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(restore)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """An MLflow server of this session; a test that stops it starts it again."""
    root = tmp_path_factory.mktemp("mlflow-server")
    with local_servers(root, Ports.free(), names=("mlflow",)) as servers:
        yield servers


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """An S3 server of this session, with its bucket; a test that stops it starts it again."""
    root = tmp_path_factory.mktemp("s3-server")
    with local_servers(root, Ports.free(), names=("s3",)) as servers:
        yield servers


@pytest.fixture(scope="session")
def settings(mlflow_server: Servers, s3_server: Servers) -> Settings:
    """Settings that lead to both servers."""
    s3 = s3_server.settings
    return Settings(
        mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri,
        s3_endpoint=s3.s3_endpoint,
        s3_bucket=s3.s3_bucket,
        aws_access_key_id=s3.aws_access_key_id,
        aws_secret_access_key=s3.aws_secret_access_key,
    )


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same settings as environment variables, set for one test."""
    variables = settings.to_environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables

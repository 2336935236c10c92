"""The control plane that the tests of launching and registration talk to."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from admin_server import AdminServer
from example_flows import register_examples


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AdminServer]:
    """An empty control plane, and a home folder without any Flyte configuration."""
    for name in ("FLYTECTL_CONFIG", "FLYTE_PLATFORM_URL", "FLYTE_DEFAULT_PROJECT", "OPPEN_RATES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with AdminServer() as running:
        yield running


@pytest.fixture
def config(server: AdminServer, tmp_path: Path) -> Path:
    """The Flyte configuration file of `server`."""
    return server.write_config(tmp_path)


@pytest.fixture
def registered(server: AdminServer, config: Path) -> AdminServer:
    """`server` with the workflows of example_flows.py, registered at version v1."""
    register_examples(config, version="v1")
    server.admin.requests.clear()
    return server


@pytest.fixture
def oppen(config: Path) -> Callable[..., Any]:
    """Runs the command line in this process against `server`; returns click's result."""
    from typer.testing import CliRunner

    from operations.cli import app

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "--config", str(config)])

    return run

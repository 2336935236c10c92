"""The control plane that the tests of launching and registration talk to."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from admin_server import AdminServer


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


def register_examples(config: Path, *, version: str) -> None:
    """Registers the example workflows and their plans through FlyteRemote."""
    import example_flows
    from flytekit.configuration import Config, Image, ImageConfig, SerializationSettings
    from flytekit.remote import FlyteRemote

    image = Image(name="default", fqn="registry.example/tasks", tag=version)
    settings = SerializationSettings(
        image_config=ImageConfig(default_image=image, images=[image]),
        project="oppen",
        domain="development",
        version=version,
    )
    remote = FlyteRemote(
        Config.auto(str(config)), default_project="oppen", default_domain="development"
    )
    for flow in (example_flows.pipeline, example_flows.free, example_flows.timed):
        remote.register_workflow(flow, settings, version=version)
    for plan in (example_flows.nightly, example_flows.morning):
        remote.register_launch_plan(plan, version=version, serialization_settings=settings)


@pytest.fixture
def oppen(config: Path) -> Callable[..., Any]:
    """Runs the command line in this process against `server`; returns click's result."""
    from typer.testing import CliRunner

    from operations.cli import app

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "--config", str(config)])

    return run

"""One clear line when endpoint, project or login is wrong."""

# ruff: noqa: ARG001 - fixtures set the scene

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from admin_server import AdminServer
from example_flows import register_examples
from typer.testing import CliRunner

from operations.cli import app
from operations.exits import Exit

SECRET = "OPPEN_FLYTE_CLIENT_SECRET"


def one_line(done: Any, code: Exit = Exit.CONNECTION) -> str:
    """The single line on standard error of a command that failed with `code`."""
    assert done.exit_code == code, done.output
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def test_a_missing_configuration_says_where_to_get_one(server: AdminServer) -> None:
    """Without file and variable nothing is guessed."""
    done = CliRunner().invoke(app, ["launch", "pipeline"])
    assert "no Flyte endpoint: copy operations/flyte-config.template.yaml" in one_line(done)


def test_a_configuration_that_is_not_there_is_named(server: AdminServer) -> None:
    """A wrong --config is the person's mistake, not Flyte's."""
    done = CliRunner().invoke(app, ["executions", "--config", "nowhere.yaml"])
    assert "--config nowhere.yaml is not a file" in one_line(done, Exit.USAGE)


def test_an_endpoint_where_nobody_listens_is_named(server: AdminServer, tmp_path: Path) -> None:
    """The line names the address, the reason and the two settings to look at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = tmp_path / "config.yaml"
    config.write_text(f"admin:\n  endpoint: 127.0.0.1:{port}\n  insecure: true\n")
    line = one_line(CliRunner().invoke(app, ["executions", "--config", str(config)]))
    assert f"cannot reach Flyte at 127.0.0.1:{port}" in line
    assert "check admin.endpoint and admin.insecure" in line


def test_tls_against_a_server_without_it_is_unreachable(
    server: AdminServer, tmp_path: Path
) -> None:
    """A forgotten `insecure: true` does not hang and points at the setting."""
    config = tmp_path / "config.yaml"
    config.write_text(f"admin:\n  endpoint: {server.endpoint}\n")
    line = one_line(CliRunner().invoke(app, ["executions", "--config", str(config)]))
    assert "admin.insecure" in line


@pytest.mark.parametrize(("option", "known"), [("--project", "oppen"), ("--domain", "development")])
def test_a_project_or_domain_that_does_not_exist_is_named_with_those_that_do(
    registered: AdminServer, oppen: Callable[..., Any], option: str, known: str
) -> None:
    """A listing of nothing is told apart from a place that is not there."""
    for command in (("launch", "pipeline"), ("executions",), ("status", "f1"), ("cancel", "f1")):
        line = one_line(oppen(*command, option, "elsewhere"))
        assert "'elsewhere' does not exist" in line
        assert known in line


def test_an_empty_project_says_that_nothing_is_registered(
    server: AdminServer, oppen: Callable[..., Any]
) -> None:
    """Before the first registration the way on is named."""
    line = one_line(oppen("launch", "pipeline"), Exit.USAGE)
    assert "nothing is registered in oppen/development: run oppen register" in line


def test_a_refusal_of_rights_names_project_and_domain(
    registered: AdminServer, oppen: Callable[..., Any]
) -> None:
    """PERMISSION_DENIED is not taken for a broken login."""
    refused = grpc.StatusCode.PERMISSION_DENIED
    registered.admin.refuse("CreateExecution", refused, "needs role admin", times=4)
    line = one_line(oppen("launch", "pipeline", "-i", "name=a"))
    assert "may not do that in oppen/development" in line
    assert "needs role admin" in line


@pytest.fixture
def guarded(server: AdminServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A control plane that wants a login, and its configuration."""
    monkeypatch.setenv(SECRET, "right")
    with AdminServer(client_secret="right") as running:
        config = running.write_config(tmp_path)
        register_examples(config, version="v1")
        yield running, config


def test_the_client_secret_comes_from_the_environment(guarded: tuple[AdminServer, Path]) -> None:
    """With the right secret a token is fetched and every call carries it."""
    server, config = guarded
    done = CliRunner().invoke(app, ["launch", "nightly", "--config", str(config)])
    assert done.exit_code == Exit.OK, done.output
    assert server.admin.received("CreateExecution")
    assert "right" not in config.read_text()


@pytest.mark.parametrize("secret", ["another-one", ""])
def test_a_wrong_or_empty_secret_is_a_login_refused(
    guarded: tuple[AdminServer, Path], monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """The line names the settings, never the secret."""
    _, config = guarded
    monkeypatch.setenv(SECRET, secret)
    line = one_line(CliRunner().invoke(app, ["launch", "nightly", "--config", str(config)]))
    assert "login refused by Flyte" in line
    assert "clientSecretEnvVar" in line
    assert not secret or secret not in line


def test_without_a_terminal_no_browser_is_opened(guarded: tuple[AdminServer, Path]) -> None:
    """A configuration for people fails at once in a cron job instead of waiting for a login."""
    _, config = guarded
    lines = [line for line in config.read_text().splitlines() if "uth" not in line]
    config = config.with_name("people.yaml")
    config.write_text("\n".join(line for line in lines if "client" not in line))
    line = one_line(CliRunner().invoke(app, ["executions", "--config", str(config)]))
    assert "there is no terminal to log in from" in line

"""What all commands share: quick help with an example, and the configuration template."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from operations.cli import app

COMMANDS = ("launch", "executions", "status", "logs", "cancel", "register")
TEMPLATE = Path(__file__).parents[2] / "operations" / "flyte-config.template.yaml"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    """Help shows how the command is typed, its project options and its exit codes."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"}).stdout
    assert f"oppen {command}" in shown
    assert "--json" in shown
    assert "--project" in shown
    assert "Exit codes: 0 done" in shown


def test_the_command_line_loads_nothing_heavy() -> None:
    """Help needs no Flyte, no gRPC, no torch and no tracking server's client."""
    heavy = "{'flytekit', 'flyteidl', 'grpc', 'torch', 'mlflow', 'pandas', 'numpy'}"
    code = f"import sys, operations.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_answers_at_once() -> None:
    """Under half a second of processor time, at the best of five tries on a busy machine."""

    def processor_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    tries = []
    for _ in range(5):
        before = processor_seconds()
        command = [sys.executable, "-m", "operations.cli", "launch", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        tries.append(processor_seconds() - before)
    assert min(tries) < 0.5


def test_the_configuration_template_reads_the_secret_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The template is understood line by line, and no secret is in it."""
    from flytekit.configuration import Config, TaskConfig

    monkeypatch.setenv("OPPEN_FLYTE_CLIENT_SECRET", "from-the-environment")
    for name in ("FLYTE_PLATFORM_URL", "FLYTE_CREDENTIALS_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    platform = Config.auto(str(TEMPLATE)).platform
    assert platform.client_credentials_secret == "from-the-environment"
    assert platform.auth_mode == "ClientSecret"
    assert platform.client_id == "oppen"
    assert platform.insecure is False
    assert platform.console_endpoint == "https://flyte.example.com"
    assert TaskConfig.auto(str(TEMPLATE)).project == "oppen"
    assert "secret" not in {key.lower() for key in yaml.safe_load(TEMPLATE.read_text())["admin"]}

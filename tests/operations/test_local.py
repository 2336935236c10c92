"""`oppen launch --local`: found by reading the source, run by pyflyte."""

# ruff: noqa: ARG001 - fixtures set the scene

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.cli import app
from operations.exits import Exit
from operations.local import startables

FLOWS = """\
from dataclasses import dataclass
from pathlib import Path

from flytekit import LaunchPlan, task, workflow


@dataclass(frozen=True, kw_only=True)
class Config:
    epochs: int = 10
    note: str = "plain"


@task
def write(config: Config, where: str, factor: float, priority: str) -> int:
    if config.epochs > 99:
        raise ValueError("too many epochs")
    Path(where).write_text(f"{config.epochs} {config.note} {factor} {priority}")
    return config.epochs


@workflow
def writing(
    where: str, config: Config = Config(), factor: float = 0.5, priority: str = "normal"
) -> int:
    return write(config=config, where=where, factor=factor, priority=priority)


def helper(where: str) -> None:
    raise AssertionError("reading the source calls nothing")


nightly = LaunchPlan.get_or_create(writing, "writing-at-night", default_inputs={"factor": 2.0})
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one workflow, one plan and a module that must not be imported."""
    flows = tmp_path / "workflows"
    flows.mkdir()
    (flows / "__init__.py").touch()
    (flows / "writing.py").write_text(FLOWS)
    (flows / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(flows)  # any folder inside the project will do
    return tmp_path


def test_workflows_and_plans_are_found_without_importing(project: Path) -> None:
    """Names, server names and inputs come from the source alone."""
    found = {item.name: item for item in startables(project)}
    assert set(found) == {"write", "writing", "nightly"}
    assert found["writing"].registered == "workflows.writing.writing"
    assert found["writing"].inputs == ("where", "config", "factor", "priority")
    assert found["nightly"].registered == "writing-at-night"


def test_a_workflow_runs_here_with_typed_inputs(project: Path) -> None:
    """Inputs go through pyflyte's own conversion; one field of a mapping keeps the others."""
    target = project / "written"
    given = ["-i", f"where={target}", "-i", "config.epochs=3", "-i", "factor=0.25"]
    done = CliRunner().invoke(app, ["launch", "writing", "--local", *given, "--priority", "urgent"])
    assert done.exit_code == Exit.OK, done.output
    assert target.read_text() == "3 plain 0.25 urgent"


def test_a_failed_local_run_fails_the_command(project: Path) -> None:
    """The exit code is that of a failed execution."""
    where = f"where={project / 'never'}"
    done = CliRunner().invoke(
        app, ["launch", "writing", "--local", "-i", where, "-i", "config.epochs=100"]
    )
    assert done.exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("writin",), "did you mean 'writing'?"),
        (("writing", "-i", "wher=x"), "writing has no input 'wher'; did you mean 'where'?"),
        (("writing", "--budget-usd", "2"), "writing takes no budget_usd"),
    ],
)
def test_wrong_names_are_refused_before_anything_starts(
    project: Path, arguments: tuple[str, ...], said: str
) -> None:
    """One line, exit code 2, no process started."""
    done = CliRunner().invoke(app, ["launch", *arguments, "--local"])
    assert done.exit_code == Exit.USAGE
    assert re.fullmatch(rf"(workflows\S+ writing\n)?oppen: .*{re.escape(said)}.*\n", done.stderr)


def test_outside_a_project_local_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what is looked for."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["launch", "writing", "--local"])
    assert done.exit_code == Exit.USAGE
    assert "no workflows/ folder in" in done.stderr

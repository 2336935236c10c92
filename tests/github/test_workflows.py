"""The workflows by actionlint and by rules of our own: pinned, least rights, nothing injected."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from operations.cli import app

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / ".github" / "actions" / "setup" / "action.yml"
ALLOWED = {"actions", "docker"}

Workflows = dict[str, dict[Any, Any]]


def on(workflow: dict[Any, Any]) -> dict[str, Any]:
    """Triggers; YAML 1.1 reads their key as a boolean."""
    triggers: dict[str, Any] = workflow[True]
    return triggers


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    """All steps of all jobs."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def setup_steps() -> list[dict[str, Any]]:
    """Steps of the composite action."""
    found: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"][
        "steps"
    ]
    return found


def test_they_are_the_five_that_are_promised(workflows: Workflows) -> None:
    """One for checks, images, registration, training, and training after a change."""
    assert list(workflows) == [
        "ci.yml",
        "images.yml",
        "register.yml",
        "retrain-on-runbook-change.yml",
        "train.yml",
    ]


def test_actionlint_has_nothing_to_say(load: Callable[[str], ModuleType]) -> None:
    """The real actionlint, on all workflows."""
    assert load("charts/tools.py").actionlint(FILES) == []


def test_actionlint_would_speak_up(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """An injected title is found, so silence above means something."""
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "on: issues\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ github.event.issue.title }}\n"
    )
    (found,) = load("charts/tools.py").actionlint([bad])
    assert "potentially untrusted" in found


def test_actions_are_pinned_by_commit() -> None:
    """Each action is of a known owner, at 40 hex digits, with its version beside it."""
    used: dict[str, set[str]] = {}
    for path in [*FILES, ACTION]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not (match := re.search(r"uses:\s*(\S+)(.*)", line)):
                continue
            name, rest = match.groups()
            if name.startswith("./"):
                assert (ROOT / name).exists()
                continue
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", rest), line
            assert name.split("/")[0] in ALLOWED, line
            used.setdefault(name.split("@")[0], set()).add(name)
    assert all(len(versions) == 1 for versions in used.values()), used


def test_rights_are_the_least(workflows: Workflows) -> None:
    """Reading the code is the default; only images are written, by the job that makes them."""
    writes = []
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job_name, job in workflow["jobs"].items():
            for right, level in job.get("permissions", {}).items():
                if level != "read":
                    writes.append((name, job_name, right))
    assert writes == [("images.yml", "build", "packages"), ("register.yml", "images", "packages")]


def test_expressions_stay_out_of_scripts(workflows: Workflows) -> None:
    """What people type reaches a shell through the environment only, never by substitution."""
    every = [step for workflow in workflows.values() for step in steps(workflow)] + setup_steps()
    scripts = [step["run"] for step in every if "run" in step]
    assert len(scripts) >= 10
    assert [script for script in scripts if "${{" in script] == []


def test_variables_are_quoted(workflows: Workflows) -> None:
    """A value with blanks stays one argument: `$NAME` outside of quotes is not written."""
    for workflow in workflows.values():
        for step in steps(workflow):
            for line in step.get("run", "").splitlines():
                bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", line)
                assert not re.search(r"\$[A-Za-z{]", bare), line


def test_a_failure_inside_a_pipe_is_one(workflows: Workflows) -> None:
    """Scripts run in `bash -eo pipefail`, which GitHub chooses only where bash is named."""
    for workflow in workflows.values():
        assert workflow["defaults"]["run"]["shell"] == "bash"


def test_secrets_reach_only_the_step_that_needs_them(workflows: Workflows) -> None:
    """No secret is set for a job, passed to another workflow, or printed."""
    for workflow in workflows.values():
        assert "secrets." not in str(workflow.get("env", {}))
        for job in workflow["jobs"].values():
            assert "secrets." not in str(job.get("env", {}))
            assert "secrets" not in job
        for step in steps(workflow):
            names = [
                name for name, value in step.get("env", {}).items() if "secrets." in str(value)
            ]
            assert set(names) <= {"OPPEN_FLYTE_CLIENT_SECRET"}
            for name in names:
                assert name not in step["run"]
                assert "oppen " in step["run"]
            assert "set -x" not in step.get("run", "")


def test_checkouts_leave_no_credentials(workflows: Workflows) -> None:
    """No later step can push with the token of the checkout."""
    for workflow in workflows.values():
        for step in steps(workflow):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_runs_do_not_pile_up(workflows: Workflows) -> None:
    """Each workflow has a concurrency group, and every job ends by itself."""
    for name, workflow in workflows.items():
        assert workflow["concurrency"]["group"], name
        for job in workflow["jobs"].values():
            assert "uses" in job or job["timeout-minutes"] <= 350
    for name in ("register.yml", "train.yml", "retrain-on-runbook-change.yml"):
        assert workflows[name]["concurrency"]["cancel-in-progress"] is False


def test_only_main_registers_and_trains(workflows: Workflows) -> None:
    """Nothing that holds a login runs for a pull request, and all of it asks the environment."""
    for name, workflow in workflows.items():
        if "secrets.OPPEN" not in str(workflow):
            continue
        assert set(on(workflow)) <= {"push", "schedule", "workflow_dispatch"}, name
        if "push" in on(workflow):
            assert on(workflow)["push"]["branches"] == ["main"]
        for job in workflow["jobs"].values():
            if "secrets.OPPEN" in str(job):
                assert job["environment"] == "production"


def test_training_has_its_inputs_and_its_week(workflows: Workflows) -> None:
    """Weekly, or by hand with agent, force and budget."""
    triggers = on(workflows["train.yml"])
    assert set(triggers["workflow_dispatch"]["inputs"]) == {"agent", "force", "budget"}
    (schedule,) = triggers["schedule"]
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert (minute, hour, day, month, weekday) == ("0", "4", "*", "*", "0")


def test_registration_follows_the_images(workflows: Workflows) -> None:
    """The code is registered, and its plans activated, only when its images are there."""
    jobs = workflows["register.yml"]["jobs"]
    assert jobs["images"]["uses"] == "./.github/workflows/images.yml"
    assert jobs["register"]["needs"] == "images"
    script = jobs["register"]["steps"][-1]["run"]
    assert '--version "$GITHUB_SHA"' in script
    assert "--activate" in script


def commands(workflows: Workflows) -> Iterator[list[str]]:
    """Every call of `oppen` in a script, split as the shell would."""
    for workflow in workflows.values():
        for step in steps(workflow):
            script = step.get("run", "").replace("\\\n", " ")
            for line in script.splitlines():
                if match := re.search(r"(?:^|\s|/)oppen ((?:launch|register)\b[^|&]*)", line):
                    yield shlex.split(match[1])


def test_every_change_passes_the_gates(workflows: Workflows) -> None:
    """A pull request runs checks, tests, the chart, and a registration that needs no cluster."""
    workflow = workflows["ci.yml"]
    assert {"pull_request", "push"} <= set(on(workflow))
    jobs = {
        name: [step["run"].strip() for step in job["steps"] if "run" in step]
        for name, job in workflow["jobs"].items()
    }
    assert jobs["check"] == ["make PYTHON=python check"]
    assert jobs["test"] == ["make PYTHON=python test"]
    assert "helm lint --strict charts/oppen" in " ".join(jobs["chart"])
    assert jobs["registration"][-1].endswith("oppen register --dry-run")
    assert ["register", "--dry-run"] in list(commands(workflows))


def test_they_call_oppen_as_a_person_would(workflows: Workflows) -> None:
    """Each option that a script passes is one that the command has."""
    group = typer.main.get_command(app)
    found = list(commands(workflows))
    assert len(found) == 4
    for name, *arguments in found:
        known = {
            option
            for parameter in group.commands[name].params  # type: ignore[attr-defined]
            for option in [*parameter.opts, *parameter.secondary_opts]
        }
        passed = {argument for argument in arguments if argument.startswith("--")}
        assert passed <= known, passed - known


@pytest.mark.parametrize("path", [ROOT / ".github" / "dependabot.yml"])
def test_pins_are_kept_fresh(path: Path) -> None:
    """Dependabot renews the pins of actions and base images."""
    updates = yaml.safe_load(path.read_text(encoding="utf-8"))["updates"]
    assert {one["package-ecosystem"] for one in updates} == {"github-actions", "docker"}

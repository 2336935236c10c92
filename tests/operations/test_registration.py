"""`oppen register`: code compiled and registered by commit, plans brought in line with it."""

# ruff: noqa: ARG001 - fixtures set the scene

import dataclasses
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from admin_server import AdminServer
from admin_service import ACTIVE, INACTIVE
from flyteidl.admin.common_pb2 import NAMED_ENTITY_ACTIVE, NAMED_ENTITY_ARCHIVED
from flyteidl.admin.launch_plan_pb2 import LaunchPlan
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, Identifier
from typer.testing import CliRunner

from operations import registration
from operations.cli import app
from operations.exits import Exit, RemoteError
from operations.local import FOLDERS
from operations.registration import (
    Change,
    Manifest,
    active_versions,
    problems,
    reconcile,
    serialise,
)
from operations.remote import Flyte, connect

Register = Callable[..., Any]

WORKFLOW = """\
from flytekit import task, workflow

IMAGE = "{{.image.tasks.fqn}}:{{.image.tasks.version}}"


@task(container_image=IMAGE)
def double(x: int) -> int:
    return 2 * x


@workflow
def doubling(x: int) -> int:
    return double(x=x)
"""

PLANS = """\
from flytekit import CronSchedule, LaunchPlan
from workflows.doubling import doubling

hourly = LaunchPlan.get_or_create(
    doubling, name="hourly", default_inputs={"x": 1}, schedule=CronSchedule(schedule="0 * * * *")
)
manual = LaunchPlan.get_or_create(doubling, name="manual", default_inputs={"x": 2})
"""


def git(root: Path, *arguments: str) -> str:
    """Runs git in the project."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def write_project(root: Path) -> Path:
    """A git project with one workflow and two launch plans."""
    for folder, name, text in (
        ("workflows", "doubling.py", WORKFLOW),
        ("launchplans", "plans.py", PLANS),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
        (root / folder / name).write_text(text)
    (root / ".gitignore").write_text("__pycache__/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Double numbers")
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, in which the test runs."""
    root = write_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """What the project defines."""
    root = write_project(tmp_path_factory.mktemp("manifest") / "project")
    return serialise(root, images={"tasks": "t:1", "training": "g:1"}, folders=FOLDERS)


@pytest.fixture
def flyte(config: Path) -> Flyte:
    """A connection to the server."""
    return connect(config=config, project=None, domain=None)


def put(
    server: AdminServer, manifest: Manifest, version: str, *, active: tuple[str, ...] = ()
) -> None:
    """Puts the plans of `manifest` on the server at `version`."""
    for name, plan in manifest.plans.items():
        copy = LaunchPlan.FromString(plan.SerializeToString())
        copy.id.MergeFrom(Identifier(project="oppen", domain="development", version=version))
        copy.closure.state = ACTIVE if name in active else INACTIVE
        server.admin.plans[name, version] = copy


@pytest.fixture
def register(config: Path) -> Register:
    """Runs `oppen register --json`; returns click's result with its `record`."""

    def run(*arguments: str) -> Any:
        command = ["register", "--json", "--config", str(config), *arguments]
        done = CliRunner().invoke(app, command)
        done.record = json.loads(done.stdout) if done.exit_code == 0 else None  # type: ignore[attr-defined]
        return done

    return run


def states(server: AdminServer) -> dict[tuple[str, str], int]:
    """The state of every version of every plan."""
    return {key: plan.closure.state for key, plan in server.admin.plans.items()}


def test_the_commit_is_the_version_and_roles_are_the_images(
    server: AdminServer, project: Path, config: Path, manifest: Manifest
) -> None:
    """All arrives at the commit; one plan is activated, and what fires at another is said."""
    put(server, manifest, "older", active=("hourly",))
    version = git(project, "rev-parse", "HEAD")
    given = ("--registry", "ghcr.io/acme/oppen/", "--activate-plan", "manual")
    done = CliRunner().invoke(app, ["register", *given, "--config", str(config)])
    assert done.exit_code == Exit.OK, done.output
    (task,) = server.admin.received("CreateTask")
    assert task.spec.template.container.image == f"ghcr.io/acme/oppen/tasks:{version}"
    assert done.stdout.splitlines() == [
        f"registered 1 tasks, 1 workflows, 3 launch plans at {version}",
        f"activated manual {version}",
        "hourly is active at older: --activate-plan hourly makes it this version",
    ]
    assert {key for key, state in states(server).items() if state == ACTIVE} == {
        ("hourly", "older"),
        ("manual", version),
    }
    assert ("workflows.doubling.doubling", version) in states(server)


def test_activation_moves_a_plan_to_the_new_version(
    server: AdminServer, manifest: Manifest, flyte: Flyte
) -> None:
    """Of each plan one version fires; the workflow's own plan needs no activation."""
    put(server, manifest, "v1", active=("hourly", "manual"))
    put(server, manifest, "v2")
    names = manifest.named_plans
    assert names == ("hourly", "manual")
    reconcile(flyte, manifest, version="v2", activate=names, archive=True)
    assert active_versions(flyte) == {"hourly": "v2", "manual": "v2"}


def test_a_plan_that_left_the_code_is_stopped_and_archived_and_comes_back(
    server: AdminServer, manifest: Manifest, flyte: Flyte
) -> None:
    """A deleted schedule stops firing with the next registration, which says so once."""
    put(server, manifest, "v1", active=("hourly",))
    own = "workflows.doubling.doubling"
    less = dataclasses.replace(manifest, plans={own: manifest.plans[own]})
    align = partial(reconcile, flyte, version="v2", activate=())
    assert align(manifest=less, archive=False) == []
    assert align(manifest=less, archive=True) == [
        Change(plan="hourly", action="deactivated", version="v1"),
        Change(plan="hourly", action="archived"),
        Change(plan="manual", action="archived"),
    ]
    assert active_versions(flyte) == {}
    assert server.admin.entity_states == {
        (LAUNCH_PLAN, "hourly"): NAMED_ENTITY_ARCHIVED,
        (LAUNCH_PLAN, "manual"): NAMED_ENTITY_ARCHIVED,
    }
    assert align(manifest=less, archive=True) == []
    assert Change(plan="hourly", action="restored") in align(manifest=manifest, archive=True)
    assert server.admin.entity_states[LAUNCH_PLAN, "hourly"] == NAMED_ENTITY_ACTIVE


def test_plans_of_other_code_in_the_project_are_left_alone(
    server: AdminServer, manifest: Manifest, flyte: Flyte
) -> None:
    """Only plans whose workflow lives in this code's packages are this code's to archive."""
    put(server, manifest, "v1", active=("hourly",))
    for plan in server.admin.plans.values():
        plan.spec.workflow_id.name = "their.package.flow"
    empty = dataclasses.replace(manifest, plans={})
    assert reconcile(flyte, empty, version="v2", activate=(), archive=True) == []
    assert active_versions(flyte) == {"hourly": "v1"}


def test_a_dry_run_needs_no_server(project: Path, tmp_path: Path) -> None:
    """It compiles everything, in a work tree with changes too, and asks nobody."""
    (project / "notes.txt").write_text("not committed")
    done = CliRunner().invoke(
        app, ["register", "--dry-run", "--config", str(tmp_path / "none.yaml")]
    )
    assert done.exit_code == Exit.OK, done.output
    assert "would register 1 tasks, 1 workflows, 3 launch plans at" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2 * x", "2 * (x", "was never closed"),
        ("@task(container_image=IMAGE)", "@task", "which is the image of no role"),
    ],
)
def test_code_that_would_fail_on_a_cluster_is_refused(
    project: Path, old: str, new: str, said: str
) -> None:
    """What does not compile, and what compiles but could not run."""
    (project / "workflows/doubling.py").write_text(WORKFLOW.replace(old, new))
    done = CliRunner().invoke(app, ["register", "--dry-run"])
    assert done.exit_code == Exit.FAILED, done.output
    assert said in done.stderr


def test_schedules_that_could_never_fire_are_found(manifest: Manifest) -> None:
    """Flytekit lets an open input and a wrong kickoff argument pass; they fail in silence."""
    plan = LaunchPlan.FromString(manifest.plans["hourly"].SerializeToString())
    parameter = plan.spec.default_inputs.parameters["x"]
    schedule = plan.spec.entity_metadata.schedule
    images = {"tasks": "t:1"}
    scheduled = dataclasses.replace(manifest, plans={"hourly": plan})
    assert list(problems(scheduled, images)) == []
    parameter.required = True
    (found,) = problems(scheduled, images)
    assert "leaves the input 'x' open and would never start" in found
    schedule.kickoff_time_input_arg = "x"
    assert list(problems(scheduled, images)) == []
    schedule.kickoff_time_input_arg = "when"
    assert "passes its time to 'when', which is no input of it" in next(problems(scheduled, images))


def test_a_changed_work_tree_is_not_registered_as_a_commit(
    server: AdminServer, project: Path, register: Register
) -> None:
    """The images hold the commit; other code under its name would be a lie."""
    (project / "workflows/doubling.py").write_text(WORKFLOW + "\n")
    done = register()
    assert done.exit_code == Exit.USAGE
    assert "workflows/doubling.py differs from the commit" in done.stderr
    assert not server.admin.requests


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--image", "gpu=x:1"), Exit.USAGE, "is not a role: it is one of tasks, training"),
        (("--activate-plan", "hourl"), Exit.USAGE, "did you mean 'hourly'?"),
        (("--project", "elsewhere"), Exit.CONNECTION, "project 'elsewhere' does not exist"),
    ],
)
def test_wrong_options_end_in_one_line_before_anything_is_registered(
    server: AdminServer,
    project: Path,
    register: Register,
    arguments: tuple[str, ...],
    code: Exit,
    said: str,
) -> None:
    """Images, plans and places are checked first."""
    done = register(*arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert not server.admin.received("CreateTask")


def test_a_refusal_of_the_server_is_passed_on(
    server: AdminServer, project: Path, config: Path, flyte: Flyte
) -> None:
    """`pyflyte register` fails with a page of text; the line of it that says why is kept."""
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    server.admin.refuse("CreateTask", invalid, "gpu limit:\n9 > 8", times=8)
    given = {"version": "v1", "images": {"tasks": "t:1"}, "folders": FOLDERS}
    with pytest.raises(RemoteError, match=r"^pyflyte failed: gpu limit: 9 > 8$") as refused:
        registration.register(project, flyte, config=config, **given)
    assert refused.value.code == Exit.FAILED
    server.admin.refusals.clear()
    registration.register(project, flyte, config=config, **given)
    assert ("hourly", "v1") in states(server)

"""What the code defines for Flyte, and how a server is brought in line with it.

Registering alone leaves two holes: it activates nothing, and a plan that was deleted from the code
keeps firing on the server (flyte#3109). `reconcile` closes both.
"""

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.exits import Exit, RemoteError
from operations.local import FOLDERS, pyflyte
from operations.plans import PAGE
from operations.remote import Flyte

ROLES = ("tasks", "training")
"""Images by the name of their role."""

_SPECS = {"1": "task", "2": "workflow", "3": "plan"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All entities of the code as flyteidl messages, by full name."""

    tasks: Mapping[str, Any]
    """TaskSpec messages."""

    workflows: Mapping[str, Any]
    """WorkflowSpec messages."""

    plans: Mapping[str, Any]
    """LaunchPlan messages; every workflow has one of its own name."""

    @property
    def named_plans(self) -> tuple[str, ...]:
        """The plans that somebody wrote: all but the workflows' own."""
        return tuple(sorted(n for n, p in self.plans.items() if p.spec.workflow_id.name != n))


def git_version(root: Path, *, clean: bool) -> str:
    """The commit that is checked out.

    Args:
        root: the project.
        clean: whether files that differ from the commit are refused: the images hold the commit.

    Raises:
        ValueError: This is not a git work tree, or it has changes.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if clean and (changed := _git(root, "status", "--porcelain")):
        first = changed.splitlines()[0][3:]
        raise ValueError(f"{first} differs from the commit: commit it, or pass --version")
    return commit


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(f"{root} has no git commit to take the version from: pass --version")
    return done.stdout.rstrip()


def images(registry: str, version: str, given: Mapping[str, str]) -> dict[str, str]:
    """The image of each role: as given, else `<registry>/<role>:<version>`.

    >>> images("ghcr.io/acme/oppen", "1a2b", {"tasks": "local/tasks:dev"})
    {'tasks': 'local/tasks:dev', 'training': 'ghcr.io/acme/oppen/training:1a2b'}
    """
    for role in given:
        if role not in ROLES:
            raise ValueError(f"--image {role}=... is not a role: it is one of {', '.join(ROLES)}")
    return {role: given.get(role, f"{registry}/{role}:{version}") for role in ROLES}


def serialise(root: Path, *, images: Mapping[str, str], folders: Sequence[str]) -> Manifest:
    """Compiles the code in a process of its own and reads the result; no server is asked.

    Args:
        root: the project.
        images: image by role.
        folders: packages under `root` that define workflows and plans.

    Raises:
        RemoteError: The code does not compile for Flyte.
    """
    with tempfile.TemporaryDirectory(prefix="oppen-register-") as folder:
        output = Path(folder) / "package.tgz"
        packages = [part for name in folders for part in ("--pkgs", name)]
        command = pyflyte(*packages, "package", *_image_options(images))
        _run([*command, "--source", str(root), "--output", str(output)], root)
        with tarfile.open(output) as archive:
            return _read(archive)


def _read(archive: tarfile.TarFile) -> Manifest:
    from flyteidl.admin.launch_plan_pb2 import LaunchPlan
    from flyteidl.admin.task_pb2 import TaskSpec
    from flyteidl.admin.workflow_pb2 import WorkflowSpec

    readers = {"task": TaskSpec, "workflow": WorkflowSpec, "plan": LaunchPlan}
    found: dict[str, dict[str, Any]] = {kind: {} for kind in readers}
    for member in archive.getmembers():
        # flytekit names the files NUMBER_ENTITY_TYPE.pb after the resource types of flyteidl.
        kind = _SPECS[member.name.removesuffix(".pb")[-1]]
        content = archive.extractfile(member)
        spec = readers[kind].FromString(content.read() if content else b"")
        found[kind][spec.id.name if kind == "plan" else spec.template.id.name] = spec
    return Manifest(tasks=found["task"], workflows=found["workflow"], plans=found["plan"])


def problems(manifest: Manifest, images: Mapping[str, str]) -> Iterator[str]:
    """What flytekit lets pass and a cluster would only show later, if at all."""
    for name, spec in manifest.tasks.items():
        image = spec.template.container.image
        if spec.template.HasField("container") and image not in images.values():
            yield f"task {name} runs in {image}, which is the image of no role"
    for name, plan in manifest.plans.items():
        schedule = plan.spec.entity_metadata.schedule
        if not schedule.WhichOneof("ScheduleExpression"):
            continue
        parameters, kickoff = plan.spec.default_inputs.parameters, schedule.kickoff_time_input_arg
        if kickoff and kickoff not in parameters:
            yield f"plan {name} passes its time to {kickoff!r}, which is no input of it"
        for key, parameter in parameters.items():
            if parameter.required and key != kickoff:
                yield f"scheduled plan {name} leaves the input {key!r} open and would never start"


def register(
    root: Path,
    flyte: Flyte,
    *,
    config: Path | None,
    version: str,
    images: Mapping[str, str],
    folders: Sequence[str],
) -> None:
    """Registers the code with `pyflyte register`; what is there already stays.

    Raises:
        RemoteError: The server refused, or could not be reached.
    """
    command = pyflyte(*(("--config", str(config)) if config else ()), "register")
    place = ["--project", flyte.project, "--domain", flyte.domain, "--version", version]
    _run([*command, *place, "--copy", "none", *_image_options(images), *folders], root)


def _image_options(images: Mapping[str, str]) -> list[str]:
    return [part for role, uri in images.items() for part in ("--image", f"{role}={uri}")]


def _run(command: Sequence[str], root: Path) -> None:
    # A wrapped message would lose its beginning; gRPC's own log would come after it.
    environment = {**os.environ, "COLUMNS": "500", "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or "Aborting" in done.stdout:
        raise RemoteError(
            f"pyflyte failed: {_telling(done.stdout + done.stderr)}", code=Exit.FAILED
        )


def _telling(output: str) -> str:
    """The part of pyflyte's output that says why: a server's details, else the last line."""
    details = output.partition("Details:")[2].split()
    if details:
        return " ".join(details)[:300]
    lines = [line.strip("│╭╰╯─ ") for line in output.splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing done to a launch plan on the server."""

    plan: str
    """Its name."""

    action: str
    """activated, deactivated, archived or restored."""

    version: str = ""
    """The version that was meant, or "" for all of them."""


def reconcile(
    flyte: Flyte,
    manifest: Manifest,
    *,
    version: str,
    activate: Sequence[str],
    archive: bool,
    roots: Sequence[str] = FOLDERS,
) -> list[Change]:
    """Brings the plans on the server in line with the code.

    Args:
        flyte: the server, project and domain.
        manifest: what the code defines.
        version: the version that was registered.
        activate: plans to activate at `version`; their older versions stop firing.
        archive: whether plans of this code that it no longer defines are stopped and archived.
        roots: packages whose workflows belong to this code; plans of other workflows are left
            alone.
    """
    changes: list[Change] = []
    states = dict(_plan_states(flyte))
    for name in sorted(set(states) - set(manifest.plans)) if archive else ():
        changes += _retire(flyte, name, archived=states[name], roots=roots)
    for name in sorted(set(states) & set(manifest.plans)):
        if states[name]:
            _set_archived(flyte, name, archived=False)
            changes.append(Change(plan=name, action="restored"))
    for name in activate:
        _set_active(flyte, name, version, active=True)
        changes.append(Change(plan=name, action="activated", version=version))
    return changes


def active_versions(flyte: Flyte) -> dict[str, str]:
    """The version at which each active plan of the project and domain is."""
    from flyteidl.admin.launch_plan_pb2 import ActiveLaunchPlanListRequest

    request = ActiveLaunchPlanListRequest(project=flyte.project, domain=flyte.domain, limit=PAGE)
    found: dict[str, str] = {}
    while True:
        with flyte.calls():
            answer = flyte.admin.list_active_launch_plans_paginated(request)
        found |= {plan.id.name: plan.id.version for plan in answer.launch_plans}
        request.token = answer.token
        if not request.token:
            return found


def _plan_states(flyte: Flyte) -> Iterator[tuple[str, bool]]:
    """Every launch plan on the server, and whether it is archived."""
    from flyteidl.admin.common_pb2 import NAMED_ENTITY_ARCHIVED, NamedEntityListRequest
    from flyteidl.core.identifier_pb2 import LAUNCH_PLAN

    request = NamedEntityListRequest(
        resource_type=LAUNCH_PLAN, project=flyte.project, domain=flyte.domain, limit=PAGE
    )
    while True:
        with flyte.calls():
            answer = flyte.list_named_entities(request)
        for entity in answer.entities:
            yield entity.id.name, entity.metadata.state == NAMED_ENTITY_ARCHIVED
        request.token = answer.token
        if not request.token:
            return


def _retire(flyte: Flyte, name: str, *, archived: bool, roots: Sequence[str]) -> list[Change]:
    from flyteidl.admin.common_pb2 import NamedEntityIdentifier, ResourceListRequest, Sort
    from flyteidl.admin.launch_plan_pb2 import ACTIVE

    request = ResourceListRequest(
        id=NamedEntityIdentifier(project=flyte.project, domain=flyte.domain, name=name),
        limit=PAGE,
        sort_by=Sort(key="created_at", direction=Sort.DESCENDING),
    )
    with flyte.calls():
        versions = flyte.admin.list_launch_plans_paginated(request).launch_plans
    if not versions or versions[0].spec.workflow_id.name.partition(".")[0] not in roots:
        return []
    changes: list[Change] = []
    for plan in versions:
        if plan.closure.state == ACTIVE:
            _set_active(flyte, name, plan.id.version, active=False)
            changes.append(Change(plan=name, action="deactivated", version=plan.id.version))
    if not archived:
        _set_archived(flyte, name, archived=True)
        changes.append(Change(plan=name, action="archived"))
    return changes


def _set_active(flyte: Flyte, name: str, version: str, *, active: bool) -> None:
    from flyteidl.admin.launch_plan_pb2 import ACTIVE, INACTIVE, LaunchPlanUpdateRequest
    from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, Identifier

    identifier = Identifier(
        resource_type=LAUNCH_PLAN,
        project=flyte.project,
        domain=flyte.domain,
        name=name,
        version=version,
    )
    state = ACTIVE if active else INACTIVE
    with flyte.calls():
        flyte.admin.update_launch_plan(LaunchPlanUpdateRequest(id=identifier, state=state))


def _set_archived(flyte: Flyte, name: str, *, archived: bool) -> None:
    from flyteidl.admin import common_pb2
    from flyteidl.core.identifier_pb2 import LAUNCH_PLAN

    state = common_pb2.NAMED_ENTITY_ARCHIVED if archived else common_pb2.NAMED_ENTITY_ACTIVE
    request = common_pb2.NamedEntityUpdateRequest(
        resource_type=LAUNCH_PLAN,
        id=common_pb2.NamedEntityIdentifier(project=flyte.project, domain=flyte.domain, name=name),
        metadata=common_pb2.NamedEntityMetadata(state=state),
    )
    with flyte.calls():
        flyte.admin.update_named_entity(request)

"""`oppen register`: registers the code on Flyte by commit and brings its launch plans in line."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operations.exits import Exit, RemoteError, one_line_errors
from operations.launch import ConfigOption, DomainOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from operations.registration import Change, Manifest


def register(
    version: Annotated[
        str | None, typer.Option(help="Version to register.", show_default="the git commit")
    ] = None,
    registry: Annotated[
        str, typer.Option(help="Where the images are.", envvar="OPPEN_REGISTRY", show_envvar=True)
    ] = "localhost/oppen",
    image: Annotated[
        list[str] | None, typer.Option(help="`tasks=...` or `training=...`: one image by its role.")
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Activate all named launch plans at this version.")
    ] = False,
    activate_plan: Annotated[
        list[str] | None, typer.Option(help="Activate this launch plan at this version.")
    ] = None,
    archive: Annotated[
        bool, typer.Option(help="Stop and archive plans that left the code.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compile and check the code; no server is asked.")
    ] = False,
    config: ConfigOption = None,
    project: ProjectOption = None,
    domain: DomainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register all tasks, workflows and launch plans of the project around this folder.

    Nothing is activated unless it is asked for. The code must be a clean commit: it is the version.

    Example: `oppen register --registry ghcr.io/acme/oppen --domain production --activate`
    """
    from operations import registration
    from operations.launching import pairs
    from operations.local import FOLDERS, project_root
    from operations.remote import connect

    with one_line_errors():
        root = project_root(Path.cwd())
        folders = [name for name in FOLDERS if (root / name).is_dir()]
        version = version or registration.git_version(root, clean=not dry_run)
        given = pairs(image or [], option="--image")
        images = registration.images(registry.rstrip("/"), version, given)
        flyte = None if dry_run else connect(config=config, project=project, domain=domain)
        if flyte is not None:
            flyte.check_place()  # compiling takes a while; a wrong place is found before
        manifest = registration.serialise(root, images=images, folders=folders)
        _check(manifest, images)
        chosen = _chosen(manifest, activate=activate, plans=activate_plan or [])
        changes: list[Change] = []
        active: dict[str, str] = {}
        if flyte is not None:
            registration.register(
                root, flyte, config=config, version=version, images=images, folders=folders
            )
            changes = registration.reconcile(
                flyte, manifest, version=version, activate=chosen, archive=archive
            )
            active = registration.active_versions(flyte)
    record = {
        "version": version,
        "dry_run": dry_run,
        "images": images,
        "tasks": sorted(manifest.tasks),
        "workflows": sorted(manifest.workflows),
        "launch_plans": sorted(manifest.plans),
        "changes": [dataclasses.asdict(change) for change in changes],
        "active": {name: active.get(name) for name in manifest.named_plans},
    }
    if as_json:
        typer.echo(json.dumps(record))
        return
    verb = "would register" if dry_run else "registered"
    counts = ", ".join(
        f"{len(entities)} {kind}"
        for kind, entities in (
            ("tasks", manifest.tasks),
            ("workflows", manifest.workflows),
            ("launch plans", manifest.plans),
        )
    )
    typer.echo(f"{verb} {counts} at {version}")
    for change in changes:
        typer.echo(f"{change.action} {change.plan} {change.version}".rstrip())
    for name in manifest.named_plans if not dry_run else ():
        if active.get(name) != version:
            at = f"active at {active[name]}" if name in active else "not active"
            typer.echo(f"{name} is {at}: --activate-plan {name} makes it this version")


def _check(manifest: "Manifest", images: dict[str, str]) -> None:
    from operations.registration import problems

    found = list(problems(manifest, images))
    for problem in found[1:]:
        typer.echo(f"oppen: {problem}", err=True)
    if found:
        raise RemoteError(found[0], code=Exit.FAILED)


def _chosen(manifest: "Manifest", *, activate: bool, plans: list[str]) -> list[str]:
    from operations.texts import nearest

    for name in plans:
        if name not in manifest.named_plans:
            raise ValueError(
                f"--activate-plan {name!r} is no plan{nearest(name, manifest.named_plans)}"
            )
    return sorted(set(manifest.named_plans) if activate else set(plans))

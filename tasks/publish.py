"""Publication of an agent's version: after its gate, its upload and its reload, and once."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

from flytekit import Secret, task

from stores import registry, tracking
from stores.model_version import FILE_NAME, Published, publish_version
from stores.settings import Settings
from tasks.execution import current_execution
from tasks.machines import LIGHT
from tasks.promote import CHAMPION
from tasks.records import Outcome, Registered, Run, Summary
from tasks.retrying import retried_by_flyte

PUBLISHED_TAG = "oppen.published"
TOLD = ("exact_call_accuracy", "false_call_rate", "base/exact_call_accuracy")
"""Metrics that the commit's message names."""

GIT_SECRETS = [
    Secret(group="oppen-git", key=key, mount_requirement=Secret.MountType.FILE)
    for key in ("username", "password", "ssh-privatekey", "known_hosts")
]
"""The login for git, over https or ssh; the chart's settings tell git where these files lie."""

_VERSION = re.compile(r"(?P<day>\d{8})-(?P<commit>[0-9a-f]{8,})$")


@task(secret_requests=GIT_SECRETS, **LIGHT.options())
def publish_agent(
    run: Run,
    registered: Registered,
    promoted: Summary,
    git_repository: str,
    git_branch: str,
) -> Outcome:
    """Commits `MODEL_VERSION` if the gate made this version the champion; else says why not."""
    if CHAMPION not in promoted.alias.split("+"):
        return Outcome(summary=replace(promoted, published="nothing: it is not the champion"))
    done = publish_champion(run.model_name, registered.version, git_repository, git_branch)
    return Outcome(summary=replace(promoted, published=said(done)))


@task(secret_requests=GIT_SECRETS, **LIGHT.options())
def keep_champion(agent_name: str, reason: str, git_repository: str, git_branch: str) -> Outcome:
    """Ends a run that needs no training; publishes what a killed run had left unpublished."""
    settings = Settings.from_environment()
    found = registry.champion(settings, agent_name)
    published = "nothing: there is no champion"
    if found is not None and PUBLISHED_TAG in found.tags:
        published = f"nothing: {found.tags[PUBLISHED_TAG]} is in force"
    elif found is not None:
        published = said(publish_champion(agent_name, found.version, git_repository, git_branch))
    return Outcome(
        summary=Summary(
            status=f"skipped: {reason}",
            model=f"{agent_name}/{found.version}" if found else "",
            alias=CHAMPION if found else "",
            quality=found.metrics.get("exact_call_accuracy", 0.0) if found else 0.0,
            published=published,
        )
    )


def publish_champion(agent: str, version: str, repository: str, branch: str) -> Published:
    """Publishes a registered version whose upload was verified.

    Raises:
        ValueError: Its run has no verified upload, or git refuses.
    """
    settings = Settings.from_environment()
    model = registry.get_version(settings, agent, version)
    artifact = tracking.read_run(settings, model.run_id).tags.get("oppen.artifact", "")
    name = artifact.rstrip("/").rpartition("/")[2]
    match = _VERSION.search(name)
    if match is None:
        raise ValueError(
            f"version {agent}/{version} has no verified upload ({artifact!r}); train it again"
        )
    with retried_by_flyte():
        done = publish_version(
            repository_of(repository),
            path=f"agents/{agent}/{FILE_NAME}",
            version=f"v{match['day']}-{match['commit']}",
            model=name,
            metrics={key: model.metrics[key] for key in TOLD if key in model.metrics},
            artifact=artifact,
            branch=branch,
        )
    registry.tag_version(settings, agent, version, {PUBLISHED_TAG: done.version})
    return done


def said(done: Published) -> str:
    """What a publication did, in a few words."""
    if done.outcome == "unchanged":
        return f"nothing: {done.version} is in force"
    return f"{done.version} in commit {done.commit[:12]}"


def check_repository(repository: str) -> None:
    """Refuses a run on a cluster that would have nowhere to publish to.

    Raises:
        ValueError: There is no repository.
    """
    known = repository or Settings.from_environment().git_repository
    if not known and current_execution().on_cluster:
        raise ValueError(
            "git_repository is empty; give the repository that has MODEL_VERSION, or set "
            "OPPEN_GIT_REPOSITORY"
        )


def repository_of(repository: str) -> str:
    """The repository to publish to: as given, or the settings', or one machine's under `.local`."""
    check_repository(repository)
    known = repository or Settings.from_environment().git_repository
    if known:
        return known
    folder = Path(os.environ.get("OPPEN_LOCAL") or ".local").resolve() / "git" / "agents.git"
    make_repository(folder)
    return str(folder)


def make_repository(folder: Path, branch: str = "main") -> None:
    """Makes a bare repository with one empty commit; one that is there stays as it is."""
    if (folder / "HEAD").is_file():
        return
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    _git("init", "--quiet", "--bare", f"--initial-branch={branch}", str(partial))
    tree = _git("-C", str(partial), "hash-object", "-t", "tree", "-w", "--stdin")
    author = ("-c", "user.name=Oppen", "-c", "user.email=oppen@localhost")
    commit = _git("-C", str(partial), *author, "commit-tree", tree, "-m", "Begin")
    _git("-C", str(partial), "update-ref", f"refs/heads/{branch}", commit)
    partial.rename(folder)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], input="", capture_output=True, text=True, check=True)
    return done.stdout.strip()

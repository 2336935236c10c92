"""Publication by the tasks: only a champion with a verified upload, and where nothing is given."""

import subprocess
from pathlib import Path

import pytest

from tasks.open_agent_run import hex_commit, model_folder
from tasks.publish import check_repository, make_repository, publish_agent, repository_of
from tasks.records import Registered, Run, Summary

RUN = Run(
    execution="e",
    tracking_run="r",
    tracking_url="",
    experiment="agents",
    model_name="agent-x",
    commit="unknown",
)
VERSION = Registered(name="agent-x", version="1", url="")


def test_what_is_no_champion_is_not_published(tmp_path: Path) -> None:
    """No server is asked and no repository touched."""
    outcome = publish_agent(
        run=RUN,
        registered=VERSION,
        promoted=Summary(status="completed", alias="challenger"),
        git_repository=str(tmp_path / "absent.git"),
        git_branch="main",
    )
    assert outcome.summary.published == "nothing: it is not the champion"


def test_a_machine_without_a_repository_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare repository with one empty commit, made once."""
    monkeypatch.setenv("OPPEN_LOCAL", str(tmp_path))
    monkeypatch.delenv("OPPEN_GIT_REPOSITORY", raising=False)
    first = repository_of("")
    assert repository_of("") == first
    count = subprocess.run(
        ["git", "-C", first, "rev-list", "--count", "main"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert count.stdout.strip() == "1"
    assert repository_of("https://git.example/agents.git") == "https://git.example/agents.git"


def test_a_cluster_needs_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is trained."""
    monkeypatch.setenv("FLYTE_INTERNAL_EXECUTION_ID", "abc")
    monkeypatch.delenv("OPPEN_GIT_REPOSITORY", raising=False)
    with pytest.raises(ValueError, match="git_repository is empty; give the repository"):
        check_repository("")
    check_repository("https://git.example/agents.git")
    monkeypatch.setenv("OPPEN_GIT_REPOSITORY", "https://git.example/agents.git")
    assert repository_of("") == "https://git.example/agents.git"


def test_a_repository_that_is_there_stays(tmp_path: Path) -> None:
    """Making it again changes no commit."""
    folder = tmp_path / "a.git"
    make_repository(folder)
    before = (folder / "refs" / "heads" / "main").read_text()
    make_repository(folder)
    assert (folder / "refs" / "heads" / "main").read_text() == before


def test_names_of_folders_and_commits() -> None:
    """Whatever a base model or a registered version is called, S3 and git can take it."""
    assert model_folder("a", "google/functiongemma-270m-it") == "a/functiongemma-270m-it"
    assert model_folder("a", "/models/My Gemma/") == "a/My-Gemma"
    assert model_folder("a", "..") == "a/model"
    assert hex_commit("0123456789abcdef") == "0123456789abcdef"
    assert len(hex_commit("unknown")) == 64

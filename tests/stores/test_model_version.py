"""Publishing to git, with real bare repositories."""

import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stores import model_version
from stores.model_version import (
    Published,
    PublishError,
    PublishUnavailable,
    publish_version,
    version_line,
    version_name,
)

FILE = "agents/agent-sre/MODEL_VERSION"


def git(folder: Path, *arguments: str) -> str:
    """Runs git as some other person and returns what it says."""
    identity = ["-c", "user.name=Someone", "-c", "user.email=someone@localhost"]
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(bare), str(work)], check=True, stderr=-3)
    git(work, "checkout", "--quiet", "-B", "main")
    (work / "README").write_text("hello\n")
    git(work, "add", "README")
    git(work, "commit", "--quiet", "-m", "Begin")
    git(work, "push", "--quiet", "origin", "main")
    return bare


def publish(remote: Path | str, version: str = "v20261121-01234567", **more: Any) -> Published:
    """Publishes with everything that a test does not care for."""
    given = {
        "path": FILE,
        "model": "agent-sre-functiongemma-20261121-01234567",
        "metrics": {"exact_call_accuracy": 0.9375, "false_call_rate": 0.03},
        "artifact": "s3://oppen/agent-sre/functiongemma/1",
    }
    return publish_version(
        f"file://{remote}" if isinstance(remote, Path) else remote,
        version=version,
        **(given | more),
    )


def test_a_version_is_committed_with_metrics_and_address(remote: Path) -> None:
    """The file says the version; the message says what, how good and where; the rest stays."""
    published = publish(remote)

    assert published.outcome == "published"
    assert git(remote, "rev-parse", "main") == published.commit
    assert git(remote, "show", f"main:{FILE}") == "v20261121-01234567"
    assert git(remote, "show", "main:README") == "hello"
    assert git(remote, "log", "-1", "--format=%an %s%n%b", "main").splitlines() == [
        "Oppen Publish agent-sre-functiongemma-20261121-01234567 as v20261121-01234567",
        "exact_call_accuracy: 0.9375",
        "false_call_rate: 0.03",
        "artifact: s3://oppen/agent-sre/functiongemma/1",
    ]


def test_the_same_version_again_commits_nothing(remote: Path) -> None:
    """A second publication of an unchanged version says so and leaves the branch."""
    first = publish(remote)
    second = publish(remote)
    assert (second.outcome, second.commit) == ("unchanged", first.commit)


def test_publishers_at_the_same_time_all_get_through(remote: Path) -> None:
    """Four agents publish at once: every file is there, in a straight history."""

    def one(number: int) -> Published:
        return publish(remote, path=f"agents/a{number}/MODEL_VERSION")

    with ThreadPoolExecutor(4) as pool:
        outcomes = [each.outcome for each in pool.map(one, range(4))]

    assert outcomes == ["published"] * 4
    assert git(remote, "rev-list", "--count", "main") == "5"
    assert git(remote, "rev-list", "--count", "--merges", "main") == "0"
    for number in range(4):
        assert git(remote, "show", f"main:agents/a{number}/MODEL_VERSION").startswith("v2026")


def test_a_push_in_between_is_built_upon(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pushes between our clone and our push: their commit stays, ours goes on top."""
    real, pushes = model_version._Git.push, 0

    def racing(self: Any, branch: str) -> bool:
        nonlocal pushes
        pushes += 1
        if pushes == 1:
            (tmp_path / "work" / "README").write_text("theirs\n")
            git(tmp_path / "work", "commit", "--quiet", "-am", "Theirs")
            git(tmp_path / "work", "push", "--quiet", "origin", "main")
        return real(self, branch)

    monkeypatch.setattr(model_version._Git, "push", racing)
    publish(remote)

    assert pushes == 2
    assert git(remote, "show", "main:README") == "theirs"
    assert git(remote, "log", "--format=%s", "main").splitlines()[1:] == ["Theirs", "Begin"]


def test_endless_competition_ends(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every push loses, the error says so after a bounded number of tries."""
    monkeypatch.setattr(model_version._Git, "push", lambda *_: False)
    monkeypatch.setattr(model_version, "_TRIES", 2)
    with pytest.raises(PublishUnavailable, match="changed during each of 2 pushes"):
        publish(remote)


@pytest.mark.parametrize("step", ["clone", "commit", "push"])
def test_a_kill_leaves_the_branch_old_or_published(remote: Path, step: str) -> None:
    """Killed with -9 after a step and run again: one commit, whatever the step was."""
    code = f"""
import os, signal, sys
from stores import model_version
real = model_version._Git.{step}
def killed(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
model_version._Git.{step} = killed
model_version.publish_version(sys.argv[1], path={FILE!r}, version="v20261121-01234567", model="m",
                              metrics={{}}, artifact="s3://b/m/1")
"""
    killed = subprocess.run([sys.executable, "-c", code, f"file://{remote}"], check=False)
    assert killed.returncode == -signal.SIGKILL

    outcome = publish(remote).outcome

    assert outcome == ("unchanged" if step == "push" else "published")
    assert git(remote, "rev-list", "--count", "main") == "2"
    git(remote, "fsck", "--strict")


def test_a_refusing_hook_is_told(remote: Path) -> None:
    """A rule of the server is an error that quotes it, not a reason to try again."""
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'only on weekdays' >&2\nexit 1\n")
    hook.chmod(hook.stat().st_mode | stat.S_IEXEC)
    with pytest.raises(PublishError, match="only on weekdays"):
        publish(remote)


def test_hooks_and_signing_of_this_machine_stay_out(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who signs every commit and has hooks publishes all the same."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "pre-push"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[commit]\n gpgsign = true\n[core]\n hooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert publish(remote).outcome == "published"


def test_credentials_never_show() -> None:
    """An address with user and password shows neither in the error."""
    address = "http://someone:s3cr3t@127.0.0.1:9/agents.git"
    with pytest.raises(PublishUnavailable, match=r"git clone of http://127.0.0.1:9/") as refused:
        publish(address)
    assert "s3cr3t" not in str(refused.value)
    assert "someone" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_repository_or_branch_is_named(remote: Path, tmp_path: Path) -> None:
    """Both are errors of one line that say which."""
    with pytest.raises(PublishError, match=r"nowhere\.git"):
        publish(tmp_path / "nowhere.git")
    with pytest.raises(PublishError, match="release"):
        publish(remote, branch="release")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "../MODEL_VERSION"),
        ("path", "/etc/MODEL_VERSION"),
        ("path", ".git/config"),
        ("path", ""),
        ("version", "1.0"),
        ("version", "v20261121-0123456\nx"),
        ("model", "two\nlines"),
        ("artifact", ""),
        ("artifact", "s3://key:secret@bucket/m"),
        ("artifact", "https://s3/b/m?X-Amz-Signature=1"),
    ],
)
def test_a_malformed_field_is_refused_before_git_runs(
    tmp_path: Path, field: str, value: str
) -> None:
    """Nothing is cloned for a field that cannot be right."""
    with pytest.raises(ValueError, match=field) as refused:
        publish(tmp_path / "nowhere.git", **{field: value})
    assert type(refused.value) is ValueError


def test_a_link_in_the_place_of_the_file_is_not_followed(remote: Path, tmp_path: Path) -> None:
    """A repository cannot make the publisher write elsewhere."""
    work = tmp_path / "work"
    (work / "agents").symlink_to(tmp_path)
    git(work, "add", "agents")
    git(work, "commit", "--quiet", "-m", "Link")
    git(work, "push", "--quiet", "origin", "main")
    with pytest.raises(PublishError, match="a link"):
        publish(remote)
    assert not (tmp_path / "agent-sre").exists()


def test_names_follow_one_format() -> None:
    """The long name and the line in the file share day and commit."""
    day, commit = date(2026, 3, 1), "ABCDEF0123456789".lower()
    assert version_name("agent-sre", day, commit) == "agent-sre-functiongemma-20260301-abcdef01"
    assert version_line(day, commit) == "v20260301-abcdef01"
    for agent in ("", "Agent", "a/b", "a-"):
        with pytest.raises(ValueError, match="agent_name"):
            version_name(agent, day, commit)
    for bad in ("", "unknown", "ABCDEF01"):
        with pytest.raises(ValueError, match="commit"):
            version_line(day, bad)

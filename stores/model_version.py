"""Publishes which version of an agent's model is in force: a line in a file, committed to git."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

FILE_NAME = "MODEL_VERSION"
AUTHOR = ("Oppen", "oppen@localhost")

_TRIES = 8
_GIT_SECONDS = 120
_REJECTED = ("[rejected]", "[remote rejected]", "fetch first", "cannot lock ref", "failed to lock")
_MAY_PASS = (
    *("Could not resolve", "Connection refused", "Connection reset", "Failed to connect"),
    *("timed out", "error: 502", "error: 503"),
)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class PublishError(ValueError):
    """Git refuses; the message is one line without credentials."""


class PublishUnavailable(ConnectionError):  # noqa: N818 - reads as the state it reports
    """The repository does not answer, or others push all the time; later may help."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication did."""

    outcome: Literal["published", "unchanged"]
    """`unchanged` when the file said the same already: nothing was committed."""

    version: str
    """What the file says now."""

    commit: str
    """The commit at the tip of the branch."""


def version_name(agent: str, day: date, commit: str) -> str:
    """Names a version of an agent's model.

    >>> version_name("agent-sre", date(2026, 11, 21), "0123456789abcdef")
    'agent-sre-functiongemma-20261121-01234567'

    Raises:
        ValueError: the agent's name or the commit is malformed.
    """
    if not _NAME.fullmatch(agent):
        raise ValueError(f"agent_name is {agent!r}: use small letters, digits, dots and dashes")
    return f"{agent}-functiongemma-{day:%Y%m%d}-{_short(commit)}"


def version_line(day: date, commit: str) -> str:
    """Returns what `MODEL_VERSION` says.

    >>> version_line(date(2026, 11, 21), "0123456789abcdef")
    'v20261121-01234567'
    """
    return f"v{day:%Y%m%d}-{_short(commit)}"


def publish_version(
    repository: str,
    *,
    path: str,
    version: str,
    model: str,
    metrics: Mapping[str, float],
    artifact: str,
    branch: str = "main",
    author: tuple[str, str] = AUTHOR,
) -> Published:
    """Commits `version` to the file at `path` on a branch and pushes it.

    The work is done in a temporary clone: a kill leaves the branch as it was, or published. When
    somebody else pushes in between, the commit is made again on top of theirs. Credentials come
    from git itself (an SSH key, a credential helper, or an address that holds them).

    Args:
        repository: address or folder of the repository.
        path: the file in it, such as `agents/agent-sre/MODEL_VERSION`.
        version: what the file shall say, such as `v20261121-01234567`.
        model: full name of the version, for the message.
        metrics: what the message tells of its quality.
        artifact: S3 address of the version, for the message.
        branch: the branch, which must exist.
        author: name and e-mail of the commit.

    Raises:
        ValueError: a field is malformed, or holds what would break the message.
        PublishError: git refuses.
        PublishUnavailable: the repository does not answer, or others push all the time.
    """
    _check(path, version, model, artifact)
    message = commit_message(version=version, model=model, metrics=metrics, artifact=artifact)
    with tempfile.TemporaryDirectory() as folder:
        git = _Git(Path(folder) / "clone", repository, author)
        git.clone(branch)
        for attempt in range(_TRIES):
            if git.read(path) == version:
                return Published(outcome="unchanged", version=version, commit=git.tip())
            git.commit(path, f"{version}\n", message)
            if git.push(branch):
                return Published(outcome="published", version=version, commit=git.tip())
            time.sleep(min(0.1 * 2**attempt, 3.0) * (1 + os.getpid() % 7 / 7))
            git.start_over(branch)
    raise PublishUnavailable(
        f"{git.shown} changed during each of {_TRIES} pushes of {path}: try again later"
    )


def commit_message(*, version: str, model: str, metrics: Mapping[str, float], artifact: str) -> str:
    """Writes the message of a publication: what, how good, where."""
    told = "\n".join(f"{name}: {value:.6g}" for name, value in sorted(metrics.items()))
    return f"Publish {model} as {version}\n\n{told}\nartifact: {artifact}\n"


class _Git:
    """Git in one temporary clone; no output of it leaves without its credentials masked."""

    def __init__(self, clone: Path, repository: str, author: tuple[str, str]) -> None:
        self._clone = clone
        self._repository = repository
        self.shown = _without_credentials(repository)
        name, email = author
        # The machine's own settings (hooks, signing, templates) stay out; credentials stay in.
        self._environment = os.environ | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            "LC_ALL": "C",
        }
        for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            self._environment.pop(variable, None)

    def clone(self, branch: str) -> None:
        """Fetches the tip of the branch alone."""
        options = ["--quiet", "--depth=1", "--single-branch", f"--branch={branch}", "--no-tags"]
        self._run("clone", *options, "--", self._repository, str(self._clone), inside=False)

    def start_over(self, branch: str) -> None:
        """Takes the tip that others pushed and drops our commit."""
        self._run("fetch", "--quiet", "--depth=1", "origin", branch)
        self._run("reset", "--quiet", "--hard", "FETCH_HEAD")

    def read(self, path: str) -> str | None:
        """Returns what the file says, or None."""
        file = self._clone / path
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def commit(self, path: str, content: str, message: str) -> None:
        """Writes the file and commits it."""
        file = self._clone / path
        if file.is_symlink() or not file.resolve().is_relative_to(self._clone.resolve()):
            raise PublishError(f"path is {path!r}, a link in {self.shown}: name a plain file")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        self._run("add", "--force", "--", path)
        options = ["--quiet", "--no-verify", "--no-gpg-sign", "--message", message]
        self._run("commit", *options, "--", path)

    def push(self, branch: str) -> bool:
        """Pushes; False when somebody else was faster."""
        done = self._ask("push", "--quiet", "--no-verify", "origin", f"HEAD:refs/heads/{branch}")
        if done.returncode == 0:
            return True
        if any(word in done.stderr for word in _REJECTED) and "hook" not in done.stderr:
            return False
        raise self._error("push", done.stderr)

    def tip(self) -> str:
        """Returns the commit of the clone."""
        return self._run("rev-parse", "HEAD").strip()

    def _run(self, *arguments: str, inside: bool = True) -> str:
        done = self._ask(*arguments, inside=inside)
        if done.returncode != 0:
            raise self._error(arguments[0], done.stderr)
        return done.stdout

    def _ask(self, *arguments: str, inside: bool = True) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", *(["-C", str(self._clone)] if inside else []), *arguments],
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                check=False,
                env=self._environment,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise PublishUnavailable(
                f"git {arguments[0]} of {self.shown} took more than {_GIT_SECONDS} s"
            ) from None
        except FileNotFoundError:
            raise PublishError(
                "git is not installed: install it, or use an image that has it"
            ) from None

    def _error(self, command: str, output: str) -> Exception:
        lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no reason"]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))]
        reason = _masked((telling or lines)[0], self._repository)
        kind = PublishUnavailable if _may_pass(output) else PublishError
        return kind(f"git {command} of {self.shown} failed: {reason}")


def _check(path: str, version: str, model: str, artifact: str) -> None:
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts or parts[0] == ".git":
        raise ValueError(f"path is {path!r}: name a file inside the repository")
    if not re.fullmatch(r"v\d{8}-[0-9a-f]{7,64}", version):
        raise ValueError(f"version is {version!r}: write it like v20261121-01234567")
    for field, value in (("model", model), ("artifact", artifact)):
        if not value or "\n" in value:
            raise ValueError(f"{field} is {value!r}: give one line")
    if urlsplit(artifact).query or "@" in urlsplit(artifact).netloc:
        raise ValueError("artifact holds credentials: give the plain s3:// address")


def _short(commit: str) -> str:
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"commit is {commit!r}: give a git hash in hex")
    return commit[:8]


def _without_credentials(repository: str) -> str:
    """Drops user and password of an address."""
    parts = urlsplit(repository)
    if "@" not in parts.netloc:
        return repository
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _masked(text: str, repository: str) -> str:
    """Removes from git's words what the address has in credentials."""
    parts = urlsplit(repository)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, parts.username, parts.query):
        if secret:
            text = text.replace(secret, "***")
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1", text)


def _may_pass(output: str) -> bool:
    return any(sign in output for sign in _MAY_PASS)

"""Reads runbooks written in Markdown: alerts, what they look like, and the commands that help.

Two layouts are understood. Many alerts in one file, a section each:

    ### Alert: FluxKustomizationNotReady
    **Symptoms:** ... **Investigation:** ... **Resolution:** ...

and one file per alert, as the prometheus-operator project writes them:

    # KubePodCrashLooping
    ## Meaning ... ## Impact ... ## Diagnosis ... ## Mitigation

Credentials are taken out before anything is read, so they reach neither commands nor hashes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.alerts import Alert, Command, Problem, ProblemKind, content_sha256
from training.runbook_page import Page, PageReader

_BROKEN = frozenset(
    {
        ProblemKind.BAD_NAME,
        ProblemKind.DUPLICATE_ALERT,
        ProblemKind.UNCLOSED_FENCE,
        ProblemKind.UNREADABLE_FILE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Runbook:
    """All alerts of a file or a folder, and what could not be read."""

    alerts: tuple[Alert, ...]
    """Alerts in order of file and line; names are unique."""

    problems: tuple[Problem, ...]
    """Everything worth a person's attention."""

    sources: tuple[str, ...]
    """The files read."""

    sha256: str
    """Hash over names and hashes of the alerts; order and files do not matter."""

    @property
    def commands(self) -> tuple[Command, ...]:
        """All commands of all alerts."""
        return tuple(command for alert in self.alerts for command in alert.commands)

    def problems_of(self, kind: ProblemKind) -> tuple[Problem, ...]:
        """Gives the problems of one kind."""
        return tuple(problem for problem in self.problems if problem.kind is kind)


class RunbookError(ValueError):
    """A runbook that cannot be trained on."""


def read_runbook(path: Path, *, strict: bool = True) -> Runbook:
    """Reads a Markdown file, or every `*.md` under a folder.

    Args:
        path: A file or a folder.
        strict: Whether duplicate alerts, bad names, unclosed fences and unreadable files are
            errors. When False they are only reported: of duplicates the first is kept.

    Raises:
        RunbookError: There is no such path, it holds no alert, or (strict) it is broken.
    """
    if not path.exists():
        raise RunbookError(f"runbook {str(path)!r} does not exist; give a Markdown file or folder")
    files = sorted(path.rglob("*.md")) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    parts = [_read_file(file, str(file.relative_to(root))) for file in files]
    return _assembled(parts, name=str(path), strict=strict)


def parse_runbook(text: str, *, source: str = "RUNBOOK.md", strict: bool = True) -> Runbook:
    """Reads a runbook from its text; see `read_runbook`."""
    return _assembled([PageReader(text, source).read()], name=source, strict=strict)


def _read_file(file: Path, source: str) -> Page:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        message = "is not UTF-8 text; save it as UTF-8"
        problem = Problem(kind=ProblemKind.UNREADABLE_FILE, source=source, line=1, message=message)
        return Page(source=source, problems=(problem,))
    return PageReader(text, source).read()


def _assembled(parts: Sequence[Page], *, name: str, strict: bool) -> Runbook:
    """Joins what the files gave, refusing duplicates and, when strict, what is broken."""
    problems = [problem for part in parts for problem in part.problems]
    alerts: dict[str, Alert] = {}
    for alert in (alert for part in parts for alert in part.alerts):
        if (first := alerts.setdefault(alert.name, alert)) is not alert:
            where = f"{first.source}:{first.first_line}"
            problems.append(
                Problem(
                    kind=ProblemKind.DUPLICATE_ALERT,
                    source=alert.source,
                    line=alert.first_line,
                    message=f"alert {alert.name!r} is already at {where}; merge or rename it",
                )
            )
    broken = [problem for problem in problems if problem.kind in _BROKEN]
    if strict and broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise RunbookError(f"{broken[0]}{more}")
    if not alerts:
        raise RunbookError(
            f"runbook {name!r} has no alerts; write sections '### Alert: Name', or files that "
            "start with '# AlertName'"
        )
    return Runbook(
        alerts=tuple(alerts.values()),
        problems=tuple(sorted(problems, key=lambda problem: (problem.source, problem.line))),
        sources=tuple(part.source for part in parts),
        sha256=content_sha256(f"{alert.name} {alert.sha256}" for alert in _sorted(alerts.values())),
    )


def _sorted(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: alert.name)

"""An alert of a runbook: what it looks like, the commands that help, and what was wrong with it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from training.commands import CommandLine


class Section(StrEnum):
    """The part of an alert that a line belongs to."""

    SUMMARY = "summary"
    SYMPTOMS = "symptoms"
    IMPACT = "impact"
    INVESTIGATION = "investigation"
    RESOLUTION = "resolution"


class ProblemKind(StrEnum):
    """What could not be read, or should not have been there."""

    NO_ALERT = "no_alert"
    BAD_NAME = "bad_name"
    DUPLICATE_ALERT = "duplicate_alert"
    UNCLOSED_FENCE = "unclosed_fence"
    SECRET = "secret"  # noqa: S105 - the kind of a problem
    UNREAD_COMMAND = "unread_command"
    UNREADABLE_FILE = "unreadable_file"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding of the reader."""

    kind: ProblemKind
    """What it is."""

    source: str
    """File, relative to the runbook."""

    line: int
    """Line, counted from 1."""

    message: str
    """What was found and how to mend it."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of an alert."""

    line: CommandLine
    """Its structure."""

    language: str
    """Language of the fence, empty where none is given, `inline` for inline code."""

    section: Section
    """The part of the alert it stands in."""

    step: str
    """The list item, paragraph or comment that introduces it."""

    source: str
    """File, relative to the runbook."""

    first_line: int
    """Line in the file, counted from 1."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert with everything a runbook says about it."""

    name: str
    """Name as Alertmanager has it in `alertname`."""

    summary: str = ""
    """What the alert means."""

    severity: str = ""
    """Severity where the runbook states one, else empty."""

    symptoms: tuple[str, ...] = ()
    """What a person would see, one line each."""

    impact: str = ""
    """What suffers."""

    steps: tuple[str, ...] = ()
    """What the resolution says in words."""

    commands: tuple[Command, ...] = ()
    """Commands of all sections, in order."""

    source: str
    """File, relative to the runbook."""

    first_line: int
    """Line of its heading, counted from 1."""

    sha256: str
    """Hash of its text (credentials removed, trailing space ignored)."""

    def commands_of(self, section: Section) -> tuple[Command, ...]:
        """Gives the commands of one section."""
        return tuple(command for command in self.commands if command.section is section)


def content_sha256(lines: Iterable[str]) -> str:
    """Hashes lines, apart from space at their ends and empty lines around them."""
    text = "\n".join(line.rstrip() for line in lines).strip()
    return hashlib.sha256(text.encode()).hexdigest()

"""Reads runbooks written in Markdown: alerts, what they look like, and the commands that help.

Two layouts are understood. Many alerts in one file, a section each:

    ### Alert: FluxKustomizationNotReady
    **Symptoms:** ... **Investigation:** ... **Resolution:** ...

and one file per alert, as the prometheus-operator project writes them:

    # KubePodCrashLooping
    ## Meaning ... ## Impact ... ## Diagnosis ... ## Mitigation

Credentials are taken out before anything is read, so they reach neither commands nor hashes.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePath

from training.commands import CommandError, CommandLine, is_assignment, parse_command
from training.markdown_blocks import Block, BlockKind, read_blocks
from training.redaction import redact
from training.shell_lines import logical_lines

_ALERT_HEADING = re.compile(r"Alert:\s*(?P<name>.*?)\s*")
_ALERT_NAME = re.compile(r"[A-Za-z_][\w-]*")
_LABEL = re.compile(r"(?P<label>[A-Za-z][A-Za-z /]*?)\s*:\s*(?P<rest>.*)", re.DOTALL)
_SHELLS = frozenset({"", "bash", "sh", "shell", "console", "shell-session", "zsh", "terminal"})
_INLINE = "inline"


class Section(StrEnum):
    """The part of an alert that a line belongs to."""

    SUMMARY = "summary"
    SYMPTOMS = "symptoms"
    IMPACT = "impact"
    INVESTIGATION = "investigation"
    RESOLUTION = "resolution"


_SECTION_WORDS = {
    "symptoms": Section.SYMPTOMS,
    "symptom": Section.SYMPTOMS,
    "meaning": Section.SUMMARY,
    "summary": Section.SUMMARY,
    "description": Section.SUMMARY,
    "impact": Section.IMPACT,
    "investigation": Section.INVESTIGATION,
    "diagnosis": Section.INVESTIGATION,
    "diagnostics": Section.INVESTIGATION,
    "resolution": Section.RESOLUTION,
    "mitigation": Section.RESOLUTION,
    "remediation": Section.RESOLUTION,
    "fix": Section.RESOLUTION,
    "runbook": Section.INVESTIGATION,
}


class ProblemKind(StrEnum):
    """What could not be read, or should not have been there."""

    NO_ALERT = "no_alert"
    BAD_NAME = "bad_name"
    DUPLICATE_ALERT = "duplicate_alert"
    UNCLOSED_FENCE = "unclosed_fence"
    SECRET = "secret"  # noqa: S105 - the kind of a problem
    UNREAD_COMMAND = "unread_command"
    UNREADABLE_FILE = "unreadable_file"


_BROKEN = frozenset(
    {
        ProblemKind.BAD_NAME,
        ProblemKind.DUPLICATE_ALERT,
        ProblemKind.UNCLOSED_FENCE,
        ProblemKind.UNREADABLE_FILE,
    }
)


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
    return _assembled([_Page(text, source).read()], name=source, strict=strict)


@dataclass(frozen=True, kw_only=True)
class _Part:
    source: str
    alerts: tuple[Alert, ...] = ()
    problems: tuple[Problem, ...] = ()


def _read_file(file: Path, source: str) -> _Part:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        message = "is not UTF-8 text; save it as UTF-8"
        problem = Problem(kind=ProblemKind.UNREADABLE_FILE, source=source, line=1, message=message)
        return _Part(source=source, problems=(problem,))
    return _Page(text, source).read()


def _assembled(parts: Sequence[_Part], *, name: str, strict: bool) -> Runbook:
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
        sha256=_hash(f"{alert.name} {alert.sha256}" for alert in sorted_by_name(alerts.values())),
    )


def sorted_by_name(alerts: Iterable[Alert]) -> list[Alert]:
    """Sorts alerts by name."""
    return sorted(alerts, key=lambda alert: alert.name)


def _hash(lines: Iterable[str]) -> str:
    text = "\n".join(line.rstrip() for line in lines).strip()
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class _Draft:
    """An alert while its page is being read."""

    name: str
    first_line: int
    level: int
    end_line: int = 0
    section: Section | None = None
    severity: str = ""
    step: str = ""
    words: dict[Section, list[str]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)


class _Page:
    """Reads one Markdown file."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.lines = [self._redacted(line, at) for at, line in enumerate(text.splitlines(), 1)]
        self.drafts: list[_Draft] = []

    def read(self) -> _Part:
        blocks = read_blocks("\n".join(self.lines))
        many = any(
            block.kind is BlockKind.HEADING and _ALERT_HEADING.fullmatch(block.text)
            for block in blocks
        )
        for block in blocks:
            self._heading(block, many=many)
            if self.drafts and self.drafts[-1].level and block.kind is not BlockKind.HEADING:
                self._content(block, self.drafts[-1])
        if not self.drafts:
            self._problem(ProblemKind.NO_ALERT, 1, "no alert in this file; its text is not used")
        end = len(self.lines) + 1
        for draft in reversed(self.drafts):
            draft.end_line = draft.end_line or end
            end = draft.first_line
        alerts = tuple(self._alert(draft) for draft in self.drafts)
        return _Part(source=self.source, alerts=alerts, problems=tuple(self.problems))

    def _heading(self, block: Block, *, many: bool) -> None:
        """Opens an alert, a section of one, or ends the alerts of the page."""
        if block.kind is not BlockKind.HEADING:
            return
        name = self._name_of(block, many=many)
        if name:
            self.drafts.append(_Draft(name=name, first_line=block.line, level=block.level))
        elif self.drafts:
            draft = self.drafts[-1]
            if block.level <= draft.level:
                # A chapter of its own: nothing below it belongs to the alert.
                draft.level, draft.end_line = 0, draft.end_line or block.line
            elif section := _section_named(block.text):
                draft.section, draft.step = section, ""
            else:
                draft.step = block.text

    def _name_of(self, block: Block, *, many: bool) -> str:
        """Gives the alert's name where a heading opens one.

        A page's title is its alert's name; a title in words ("CPU Throttling High") counts where
        the file is named after it.
        """
        if many:
            match = _ALERT_HEADING.fullmatch(block.text)
            if match is None or _ALERT_NAME.fullmatch(match["name"]):
                return match["name"] if match else ""
            self._problem(
                ProblemKind.BAD_NAME,
                block.line,
                f"the alert's name is {match['name']!r}; write one word, as alertname has it",
            )
            return ""
        if block.level != 1 or self.drafts:
            return ""
        stem = PurePath(self.source).stem
        joined = block.text.replace(" ", "")
        return joined if _ALERT_NAME.fullmatch(block.text) or joined == stem else ""

    def _content(self, block: Block, draft: _Draft) -> None:
        if block.kind is BlockKind.CODE:
            self._code(block, draft)
            return
        text = block.text
        if block.label and (match := _LABEL.fullmatch(text)):
            label, text = match["label"].strip().lower(), match["rest"].strip()
            if label == "severity":
                draft.severity = text.split(maxsplit=1)[0].strip("`.,").lower() if text else ""
                return
            if section := _section_named(label):
                draft.section, draft.step = section, ""
            else:
                text = block.text
        if text:
            section = draft.section or Section.SUMMARY
            draft.words.setdefault(section, []).append(text)
            draft.step = text
        for code in block.codes:
            self._inline(code, block, draft)

    def _code(self, block: Block, draft: _Draft) -> None:
        """Takes the commands of a fenced or indented block."""
        if not block.closed:
            self._problem(
                ProblemKind.UNCLOSED_FENCE,
                block.line,
                f"the code fence opened here is not closed before the text goes on; close it "
                f"(alert {draft.name!r})",
            )
        if block.language not in _SHELLS:
            return
        for row in logical_lines(block.text):
            number = block.first_content_line + row.line
            if is_assignment(row.text):
                continue
            try:
                line = parse_command(row.text, stdin=row.stdin)
            except CommandError as error:
                self._problem(ProblemKind.UNREAD_COMMAND, number, str(error).replace("\n", " "))
                continue
            self._add(draft, line, block.language, row.comment or draft.step, number)

    def _inline(self, code: str, block: Block, draft: _Draft) -> None:
        """Takes inline code that is a command of at least two words."""
        if len(code.split()) < 2:
            return
        try:
            line = parse_command(code)
        except CommandError:
            return  # inline code is mostly names, labels and expressions
        self._add(draft, line, _INLINE, draft.step, block.line)

    def _add(self, draft: _Draft, line: CommandLine, language: str, step: str, number: int) -> None:
        draft.commands.append(
            Command(
                line=line,
                language=language,
                section=draft.section or Section.SUMMARY,
                step=step,
                source=self.source,
                first_line=number,
            )
        )

    def _alert(self, draft: _Draft) -> Alert:
        def text(section: Section) -> str:
            return " ".join(draft.words.get(section, ()))

        alert = Alert(
            name=draft.name,
            summary=text(Section.SUMMARY),
            severity=draft.severity,
            symptoms=tuple(draft.words.get(Section.SYMPTOMS, ())),
            impact=text(Section.IMPACT),
            steps=tuple(draft.words.get(Section.RESOLUTION, ())),
            commands=tuple(draft.commands),
            source=self.source,
            first_line=draft.first_line,
            sha256="",
        )
        return replace(alert, sha256=_hash(self.lines[draft.first_line - 1 : draft.end_line - 1]))

    def _redacted(self, line: str, number: int) -> str:
        clean, found = redact(line)
        for kind in found:
            self._problem(
                ProblemKind.SECRET,
                number,
                f"{kind} was taken out; revoke it and write a placeholder instead",
            )
        return clean

    def _problem(self, kind: ProblemKind, line: int, message: str) -> None:
        self.problems.append(Problem(kind=kind, source=self.source, line=line, message=message))


def _section_named(text: str) -> Section | None:
    words = text.strip().strip(":").lower().split()
    return _SECTION_WORDS.get(words[0]) if words else None

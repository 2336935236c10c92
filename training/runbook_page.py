"""Reads one Markdown file of a runbook, in either layout; `runbook` joins the files."""

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from training.alerts import Alert, Command, Problem, ProblemKind, Section, content_sha256
from training.commands import CommandError, CommandLine, is_assignment, parse_command
from training.markdown_blocks import Block, BlockKind, read_blocks
from training.redaction import redact
from training.shell_lines import logical_lines

_ALERT_HEADING = re.compile(r"Alert:\s*(?P<name>.*?)\s*")
_ALERT_NAME = re.compile(r"[A-Za-z_][\w-]*")
_LABEL = re.compile(r"(?P<label>[A-Za-z][A-Za-z /]*?)\s*:\s*(?P<rest>.*)", re.DOTALL)
_SHELLS = frozenset({"", "bash", "sh", "shell", "console", "shell-session", "zsh", "terminal"})
_INLINE = "inline"


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


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one file holds."""

    source: str
    """File, relative to the runbook."""

    alerts: tuple[Alert, ...] = ()
    """Its alerts; names may repeat."""

    problems: tuple[Problem, ...] = ()
    """What could not be read."""


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


class PageReader:
    """Reads one Markdown file."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.lines = [self._redacted(line, at) for at, line in enumerate(text.splitlines(), 1)]
        self.drafts: list[_Draft] = []

    def read(self) -> Page:
        """Reads the alerts from top to bottom."""
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
        return Page(source=self.source, alerts=alerts, problems=tuple(self.problems))

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
        return replace(
            alert, sha256=content_sha256(self.lines[draft.first_line - 1 : draft.end_line - 1])
        )

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

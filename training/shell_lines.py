"""Shell text cut into commands: continuations, heredocs, comments, prompts, operators, quotes."""

import re
import shlex
from dataclasses import dataclass

_PLACEHOLDER = re.compile(
    r"<[A-Za-z](?:[\w .\-/]*\w)?>|\{\{.*?\}\}|\$\{[^}]*\}|\$[A-Za-z_]\w*|<\.\.\.>"
)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PROMPT = re.compile(r"\s*\$ +")


class ShellError(ValueError):
    """Shell text that cannot be cut into words, such as an unclosed quotation."""


@dataclass(frozen=True, kw_only=True)
class ShellLine:
    """One logical line of a script."""

    text: str
    """The line without prompt, continuation marks and heredoc body."""

    line: int
    """Its first line in the block, counted from 0."""

    comment: str
    """The comment lines just above it, joined."""

    stdin: str
    """The body of its heredoc, or an empty string."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The words of one simple command, and the operator that follows it."""

    words: tuple[str, ...]
    """Words after shlex; redirections are taken out."""

    operator: str
    """One of `|`, `||`, `&&`, `;`, `&`, or an empty string at the end."""

    redirects: tuple[str, ...]
    """Redirections as written: operator and target."""

    substitutions: tuple[str, ...]
    """What stands inside `$(...)` or backticks."""


def placeholders(text: str) -> tuple[str, ...]:
    """Lists `<pod>`, `$POD`, `${POD}` and `{{ pod }}` in order of appearance, each once.

    >>> placeholders("kubectl -n $NAMESPACE logs <pod> -n $NAMESPACE")
    ('$NAMESPACE', '<pod>')
    """
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def logical_lines(block: str) -> tuple[ShellLine, ...]:
    """Cuts a code block into logical lines.

    Where a line starts with a `$ ` prompt, the block is a session: only prompted lines (and what
    continues them) are commands, everything else is output.
    """
    rows = block.splitlines()
    session = any(_PROMPT.match(row) for row in rows)
    lines: list[ShellLine] = []
    comments: list[str] = []
    index = 0
    while index < len(rows):
        row, start = rows[index], index
        index += 1
        if not row.strip() or (session and not _PROMPT.match(row)):
            comments = []
            continue
        text = _PROMPT.sub("", row, count=1) if session else row
        if text.lstrip().startswith("#"):
            comments.append(text.lstrip().lstrip("#").strip())
            continue
        text, index = _with_continuations(text.strip(), rows, index)
        stdin, index = _heredoc_body(text, rows, index)
        lines.append(ShellLine(text=text, line=start, comment=" ".join(comments), stdin=stdin))
        comments = []
    return tuple(lines)


def _with_continuations(text: str, rows: list[str], index: int) -> tuple[str, int]:
    """Joins lines that end in a backslash, or whose quotation is still open."""
    while index < len(rows):
        if text.endswith("\\"):
            text = f"{text[:-1].rstrip()} {rows[index].strip()}"
        elif _open_quote(text):
            text = f"{text}\n{rows[index]}"
        else:
            break
        index += 1
    return text, index


def _open_quote(text: str) -> bool:
    try:
        segments(text)
    except ShellError:
        return True
    return False


def _heredoc_body(text: str, rows: list[str], index: int) -> tuple[str, int]:
    match = _HEREDOC.search(text)
    if match is None:
        return "", index
    for end in range(index, len(rows)):
        if rows[end].strip() == match[2]:
            return "\n".join(rows[index:end]), end + 1
    return "\n".join(rows[index:]), len(rows)


def segments(text: str) -> tuple[Segment, ...]:
    """Cuts a logical line at its operators; quotes, substitutions and placeholders stay whole.

    Raises:
        ShellError: A quotation or a substitution is not closed.
    """
    scanner = _Scanner(text)
    scanner.run()
    return tuple(scanner.segments)


def split_assignments(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Takes leading `NAME=value` words from the command that follows them."""
    count = 0
    while count < len(words) and _ASSIGNMENT.match(words[count]):
        count += 1
    return words[:count], words[count:]


class _Scanner:
    """Walks a line once, replacing what shlex must not look into by private-use characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.segments: list[Segment] = []
        self._buffer: list[str] = []
        self._kept: list[str] = []
        self._substitutions: list[str] = []

    def run(self) -> None:
        while self.position < len(self.text):
            self._next()
        self._close("")

    def _next(self) -> None:
        text, at = self.text, self.position
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            self._plain(2)
        elif character == "'":
            self._plain(self._end_of("'", at + 1) - at)
        elif character == '"':
            self._double_quoted()
        elif character == "#" and (at == 0 or text[at - 1].isspace()):
            self.position = len(text)
        elif not self._kept_whole():
            self._operator_or_plain()

    def _kept_whole(self) -> bool:
        """Keeps a substitution or a placeholder as one opaque piece of a word."""
        text, at = self.text, self.position
        if text.startswith("$(", at):
            end = self._end_of_substitution(at + 2)
            self._substitutions.append(text[at + 2 : end - 1])
        elif text[at] == "`":
            end = self._end_of("`", at + 1)
            self._substitutions.append(text[at + 1 : end - 1])
        elif (match := _PLACEHOLDER.match(text, at)) and not text.startswith("<<", at):
            end = match.end()
        else:
            return False
        self._keep(text[at:end])
        self.position = end
        return True

    def _double_quoted(self) -> None:
        self._buffer.append('"')
        self.position += 1
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == '"':
                self._plain(1)
                return
            if character == "\\":
                self._plain(2)
            elif character not in "$`" or not self._kept_whole():
                self._plain(1)
        raise ShellError(f"a quotation is not closed in {self.text!r}")

    def _operator_or_plain(self) -> None:
        text, at = self.text, self.position
        for operator in ("||", "&&", "|&", "|", ";"):
            if text.startswith(operator, at):
                self._close("|" if operator == "|&" else operator)
                self.position += len(operator)
                return
        if match := re.compile(r"\d?(?:<<-?|>>|<|>)(?:&\d?)?|&>>?").match(text, at):
            self._redirect(match)
        elif text[at] == "&":
            self._close("&")
            self.position += 1
        else:
            self._plain(1)

    def _redirect(self, match: re.Match[str]) -> None:
        """Sets a redirection apart as a word of its own; a leading digit needs a space before."""
        digit = match.group()[0].isdigit()
        if digit and match.start() and not self.text[match.start() - 1].isspace():
            self._plain(1)
            return
        self._buffer.append(" ")
        self._keep("\0" + match.group())
        self._buffer.append(" ")
        self.position = match.end()

    def _plain(self, count: int) -> None:
        self._buffer.append(self.text[self.position : self.position + count])
        self.position += count

    def _keep(self, piece: str) -> None:
        self._buffer.append(f"\ue000{len(self._kept)}\ue001")
        self._kept.append(piece)

    def _end_of(self, quote: str, start: int) -> int:
        end = self.text.find(quote, start)
        if end < 0:
            raise ShellError(f"{quote} is not closed in {self.text!r}")
        return end + 1

    def _end_of_substitution(self, start: int) -> int:
        depth, at = 1, start
        while at < len(self.text):
            character = self.text[at]
            if character in "'\"":
                at = self._end_of(character, at + 1)
                continue
            depth += {"(": 1, ")": -1}.get(character, 0)
            at += 1
            if depth == 0:
                return at
        raise ShellError(f"$( is not closed in {self.text!r}")

    def _close(self, operator: str) -> None:
        try:
            raw = shlex.split("".join(self._buffer), comments=False, posix=True)
        except ValueError as error:
            raise ShellError(f"{error} in {self.text!r}") from error
        words, redirects = self._restored(raw)
        if words or redirects:
            self.segments.append(
                Segment(
                    words=words,
                    operator=operator,
                    redirects=redirects,
                    substitutions=tuple(self._substitutions),
                )
            )
        self._buffer, self._substitutions = [], []

    def _restored(self, raw: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Puts the kept pieces back and takes each redirection with its target out."""
        restored = [
            re.sub(r"\ue000(\d+)\ue001", lambda match: self._kept[int(match[1])], word)
            for word in raw
        ]
        words: list[str] = []
        redirects: list[str] = []
        pending = ""
        for word in restored:
            if word.startswith("\0"):
                operator = word[1:]
                complete = operator[-1].isdigit() and "&" in operator
                if complete:
                    redirects.append(operator)
                else:
                    pending = operator
            elif pending:
                redirects.append(f"{pending} {word}")
                pending = ""
            else:
                words.append(word)
        return tuple(words), tuple(redirects)

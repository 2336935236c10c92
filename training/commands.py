"""Reads commands of kubectl, flux, helm and their kin into structure: verb, resource, name, flags.

Words are cut by shlex and understood by each program's grammar, so `kubectl -n apps get pod web`,
`kubectl get pod/web --namespace=apps` and `kubectl get po web -napps` give the same fields.
Placeholders (`<pod>`, `$POD`, `{{ pod }}`) stay as they are written.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from training.command_grammar import GRAMMARS, WRAPPERS, Grammar
from training.command_risk import Risk, flag_risk, program_risk, worst
from training.function_calls import JSON
from training.shell_lines import Segment, ShellError, placeholders, segments, split_assignments

_NO_VALUE = "true"


class CommandError(ValueError):
    """A line that is not a command of a known program; the message says why."""


@dataclass(frozen=True, kw_only=True)
class ParsedCommand:
    """One simple command with what is known about its words."""

    words: tuple[str, ...] = ()
    """All words behind the program, as written."""

    program: str
    """Name of the program, without path and wrappers such as sudo."""

    verb: str = ""
    """What it is asked to do, one or two words (`get`, `rollout restart`)."""

    resource: str = ""
    """Kind of the object, singular (`pod`, `source git`); empty where the verb has none."""

    name: str = ""
    """Name of the object, or its placeholder."""

    namespace: str = ""
    """Namespace as given, or empty."""

    arguments: tuple[str, ...] = ()
    """Positional words after the name."""

    flags: Mapping[str, str] = field(default_factory=dict)
    """Other flags by long name, in order; `true` where a flag has no value."""

    inner: "ParsedCommand | None" = None
    """The command that this one runs elsewhere (`kubectl exec ... -- df -h`)."""

    risk: Risk
    """The worst of verb, flags, substitutions and the inner command."""

    def fields(self) -> dict[str, JSON]:
        """Gives the values that mapping rules refer to; what is empty is left out.

        `flags` lists all flags but the namespace as they would be typed and `flags.NAME` has one;
        `arguments.0` is the first argument, and `words` has everything behind the program.
        """
        named: dict[str, JSON] = {
            "program": self.program,
            "verb": self.verb,
            "resource": self.resource,
            "name": self.name,
            "namespace": self.namespace,
            "arguments": [*self.arguments],
            "flags": [
                f"--{name}" if value == _NO_VALUE else f"--{name}={value}"
                for name, value in self.flags.items()
            ],
            "words": [*self.words],
            "inner": self.inner.text() if self.inner else "",
            "risk": str(self.risk),
        }
        result: dict[str, JSON] = {key: value for key, value in named.items() if value}
        result |= {f"arguments.{at}": word for at, word in enumerate(self.arguments)}
        for name, value in self.flags.items():
            result[f"flags.{name}"] = True if value == _NO_VALUE else value
        return result

    def text(self) -> str:
        """Writes the command as one line, quoting words that would fall apart."""
        return " ".join(_quoted(word) for word in (self.program, *self.words))


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """One line of a runbook: a command, what its output flows through, and what follows it."""

    text: str
    """The line as written."""

    head: ParsedCommand
    """The first command, which a tool call stands for."""

    filters: tuple[ParsedCommand, ...] = ()
    """Commands behind pipes; those that only look are `grep`, `jq` and the like."""

    followed_by: tuple["CommandLine", ...] = ()
    """Commands after `&&`, `||` or `;`."""

    writes_to: tuple[str, ...] = ()
    """Redirections into files."""

    stdin: str = ""
    """Body of a heredoc."""

    placeholders: tuple[str, ...] = ()
    """The placeholders of the whole line."""

    risk: Risk
    """The worst of all its parts."""

    @property
    def is_single(self) -> bool:
        """Whether one call can stand for the line: no filter that acts, no second command."""
        acting = any(part.risk is not Risk.READ for part in self.filters)
        return not (acting or self.followed_by or self.writes_to or self.stdin)


def parse_command(text: str, *, stdin: str = "") -> CommandLine:
    """Reads one logical line.

    >>> line = parse_command("kubectl -n apps logs deploy/web --previous | tail -20")
    >>> line.head.verb, line.head.resource, line.head.name, line.head.namespace, str(line.risk)
    ('logs', 'deployment', 'web', 'apps', 'read')

    Raises:
        CommandError: The line cannot be cut into words, or its program is not known.
    """
    try:
        parts = segments(text)
    except ShellError as error:
        raise CommandError(str(error)) from error
    parts = tuple(part for part in parts if split_assignments(part.words)[1])
    if not parts:
        raise CommandError(f"no command in {text!r}, only an assignment or a redirection")
    return _line(text, parts, stdin)


def is_assignment(text: str) -> bool:
    """Whether a line only sets shell variables.

    >>> is_assignment("NAMESPACE='<namespace label>'"), is_assignment("A=1 kubectl get pods")
    (True, False)
    """
    try:
        parts = segments(text)
    except ShellError:
        return False
    split = [split_assignments(part.words) for part in parts]
    return bool(split) and all(assigned and not rest for assigned, rest in split)


def _line(text: str, parts: tuple[Segment, ...], stdin: str) -> CommandLine:
    """Builds a line from its segments: up to the first non-pipe operator, then the rest."""
    end = next((i for i, part in enumerate(parts) if part.operator != "|"), len(parts) - 1)
    head, *filters = (_parse_words(part.words, part) for part in parts[: end + 1])
    following = (_line(text, parts[end + 1 :], ""),) if parts[end + 1 :] else ()
    writes = tuple(
        redirect
        for part in parts[: end + 1]
        for redirect in part.redirects
        if ">" in redirect and "&" not in redirect and "/dev/null" not in redirect
    )
    risks = [part.risk for part in (head, *filters, *following)]
    return CommandLine(
        text=text,
        head=head,
        filters=tuple(filters),
        followed_by=following,
        writes_to=writes,
        stdin=stdin,
        placeholders=placeholders(text),
        risk=worst(*risks, Risk.CHANGE if writes else Risk.READ),
    )


def _parse_words(words: tuple[str, ...], segment: Segment | None = None) -> ParsedCommand:
    """Reads the words of one simple command, unwrapping sudo and xargs."""
    words = split_assignments(words)[1]
    while words and words[0] in WRAPPERS:
        words = _after_options(words[1:])
    if not words:
        raise CommandError("no command behind the wrapper")
    program, rest = words[0].rsplit("/", maxsplit=1)[-1], words[1:]
    if program == "k":
        program = "kubectl"
    if program == "xargs" and (behind := _after_options(rest)):
        return _parse_words(behind, segment)
    if program not in GRAMMARS and not program.startswith("mkfs"):
        raise CommandError(f"{words[0]!r} is not a program this parser knows")
    parsed = _read(program, rest, GRAMMARS.get(program, Grammar(has_verbs=False)))
    inside = [_substitution_risk(text) for text in segment.substitutions] if segment else []
    return replace(parsed, risk=worst(parsed.risk, *inside)) if inside else parsed


def _after_options(words: tuple[str, ...]) -> tuple[str, ...]:
    """Skips the options of a wrapper, a numeric value with each (`watch -n 5`, `nice -n 5`)."""
    at = 0
    while at < len(words) and (words[at].startswith("-") or words[at].rstrip("smh").isdigit()):
        at += 1
    return words[at:]


def _substitution_risk(text: str) -> Risk:
    try:
        return parse_command(text).risk
    except CommandError:
        return Risk.UNKNOWN


def _read(program: str, words: tuple[str, ...], grammar: Grammar) -> ParsedCommand:
    all_words = words
    if not grammar.has_verbs:
        risk = worst(program_risk(program, ""), flag_risk(program, "", {}, " ".join(words)))
        return ParsedCommand(words=words, program=program, arguments=words, risk=risk)
    words, behind = _split_at_dashes(words)
    verb = _verb(words, grammar)
    flags, plain = _flags(words, grammar, verb.split(" ", maxsplit=1)[0])
    namespace = flags.pop("namespace", "")
    plain = plain[len(verb.split()) :]
    resource, name, arguments = _object(plain, verb, grammar)
    inner = None
    if behind or verb == "rsh":
        behind, arguments = behind or arguments, arguments if behind else ()
        inner = _inner(behind)
    risk = _risk(program, verb, flags, (*plain, *arguments), inner)
    return ParsedCommand(
        words=all_words,
        program=program,
        verb=verb,
        resource=resource,
        name=name,
        namespace=namespace,
        arguments=arguments,
        flags=flags,
        inner=inner,
        risk=risk,
    )


def _risk(
    program: str,
    verb: str,
    flags: Mapping[str, str],
    plain: tuple[str, ...],
    inner: ParsedCommand | None,
) -> Risk:
    if verb in ("exec", "rsh"):
        return inner.risk if inner else Risk.UNKNOWN
    if flags.get("dry-run", "none") != "none":
        return Risk.READ
    added = flag_risk(program, verb, flags, " ".join(plain))
    return worst(program_risk(program, verb.lower()), added, *([inner.risk] if inner else []))


def _split_at_dashes(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" not in words:
        return words, ()
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _inner(words: tuple[str, ...]) -> ParsedCommand | None:
    """Reads the command behind `--`, looking into `sh -c '...'`."""
    if len(words) == 3 and words[0].endswith("sh") and words[1].endswith("c"):
        try:
            line = parse_command(words[2])
        except CommandError:
            return _unknown(words)
        return replace(line.head, risk=line.risk)
    if not words:
        return None
    try:
        return _parse_words(words)
    except CommandError:
        return _unknown(words)


def _unknown(words: tuple[str, ...]) -> ParsedCommand:
    return ParsedCommand(words=words[1:], program=words[0], arguments=words[1:], risk=Risk.UNKNOWN)


def _quoted(word: str) -> str:
    """Quotes a word with space or operators; placeholders stay bare."""
    return shlex.quote(word) if not word or set(word) & set(" \t\n'\"|;&") else word


def _verb(words: tuple[str, ...], grammar: Grammar) -> str:
    """Finds the verb among the plain words, one or two of them."""
    plain = _flags(words, grammar, "")[1]
    if not plain:
        return ""
    count = 2 if plain[0] in grammar.two_word_verbs and len(plain) > 1 else 1
    return " ".join(plain[:count])


def _flags(
    words: tuple[str, ...], grammar: Grammar, verb: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Separates flags from plain words; a flag takes the next word only where the grammar says."""
    short = {**grammar.short, **grammar.verb_short.get(verb, {})}
    flags: dict[str, str] = {}
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        names, value = _flag(word, short, grammar)
        for name in names:
            flags[name] = _NO_VALUE
        last = names[-1]
        if value is not None:
            flags[last] = value
        elif last in grammar.valued and rest:
            flags[last] = rest.pop(0)
    return flags, tuple(plain)


def _flag(
    word: str, short: Mapping[str, str], grammar: Grammar
) -> tuple[tuple[str, ...], str | None]:
    """Reads one flag word: `--long`, `--long=x`, `-n`, `-napps`, `-n=apps`, `-it`."""
    body = word.lstrip("-")
    name, equals, value = body.partition("=")
    if word.startswith("--"):
        return (name,), value if equals else None
    letter = short.get(body[:1], "")
    if letter in grammar.valued:
        attached = body[1:].removeprefix("=")
        return (letter,), attached or None
    if body in short:
        return (short[body],), None
    if body.isalpha() and all(character in short for character in body):
        return tuple(short[character] for character in body), None
    return (name,), value if equals else None


def _object(
    plain: tuple[str, ...], verb: str, grammar: Grammar
) -> tuple[str, str, tuple[str, ...]]:
    """Says which plain words are the resource and the name."""
    if verb in grammar.bare or not plain:
        return "", "", plain
    first, *rest = plain
    if "/" in first and not first.startswith(("/", "<", "$", "{")):
        kind, _, name = first.partition("/")
        return grammar.aliases.get(kind, kind), name, tuple(rest)
    implied = grammar.implied.get(verb)
    if implied is not None:
        if rest and grammar.aliases.get(first, first) == implied:
            return implied, rest[0], tuple(rest[1:])
        return implied, first, tuple(rest)
    kind = grammar.aliases.get(first, first)
    created = verb == "create" and kind in grammar.kinds_of_created
    if (first in grammar.two_word_resources or created) and rest:
        kind, rest = f"{kind} {rest[0]}", rest[1:]
    return kind, rest[0] if rest else "", tuple(rest[1:])

"""An agent's tools: declarations, and the rules by which a runbook's commands become calls.

Everything is read from `agents/<name>/tools.yaml`:

    tools:       name, description and JSON schema of each tool
    rules:       which commands a tool stands for, and which fields fill its arguments
    escalation:  the tool that calls a person, and its reasons
    replies:     what the agent says where no tool fits
    requests:    requests of this agent's surroundings, by the reply they need or `escalate`
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from training.commands import CommandLine
from training.function_calls import JSON, ToolCall
from training.yaml_files import YamlError, read_yaml

_FIELD = re.compile(r"\{(?P<name>[a-z][\w.-]*)(?:\|(?P<default>[^{}]*))?\}")
_TOOL_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_MISSING = object()
REASONS = ("no_safe_command", "destructive_only", "unknown_alert")
"""Why an agent hands a request to a person; a tools file gives a text for each."""

ESCALATE = "escalate"
"""In place of a reply: call a person."""

_FIELDS = (
    *("program", "verb", "resource", "name", "namespace", "arguments", "flags", "words", "inner"),
    *("risk", "text", "alert", "severity", "reason"),
)
_SECTIONS = ("tools", "rules", "escalation", "replies", "requests")


class ToolsError(ValueError):
    """A tools file that declares something wrong; the message names the file and the place."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One function that the model may call."""

    name: str
    """Name in snake case."""

    description: str
    """One sentence; part of every prompt, so short."""

    parameters: Mapping[str, Any]
    """JSON schema of the arguments, an object."""

    def to_message(self) -> dict[str, Any]:
        """Gives the declaration as chat templates take it, without what only validation needs."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": _shown(self.parameters),
            },
        }

    def errors(self, arguments: Mapping[str, JSON]) -> list[str]:
        """Lists what the schema has against the arguments, the shallowest first."""
        validator = Draft202012Validator(dict(self.parameters))
        found = sorted(validator.iter_errors(dict(arguments)), key=lambda error: list(error.path))
        return [error.message for error in found]

    def type_of(self, argument: str) -> str:
        """Gives the JSON type that the schema states for an argument, else an empty string."""
        return str(self.parameters.get("properties", {}).get(argument, {}).get("type", ""))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Says which commands a tool stands for and how its arguments are filled."""

    tool: str
    """Name of the tool."""

    when: Mapping[str, tuple[str, ...]]
    """Fields of a command with the values they may have; all must match."""

    arguments: Mapping[str, JSON]
    """Templates by argument: `{name}`, `{namespace|flux-system}`, or plain values."""

    def matches(self, fields: Mapping[str, JSON]) -> bool:
        """Whether a command's fields fit."""
        return all(str(fields.get(name, "")) in values for name, values in self.when.items())

    def fill(self, fields: Mapping[str, JSON]) -> dict[str, JSON]:
        """Fills the templates; an argument whose field is absent is left out."""
        filled = {name: _fill(template, fields) for name, template in self.arguments.items()}
        return {name: cast(JSON, value) for name, value in filled.items() if value is not _MISSING}


@dataclass(frozen=True, kw_only=True)
class Escalation:
    """How the agent calls a person."""

    tool: str
    """Name of the tool."""

    arguments: Mapping[str, JSON]
    """Templates over `{alert}`, `{severity}` and `{reason}`."""

    reasons: Mapping[str, str]
    """What the agent says for each of `REASONS`."""

    default_severity: str
    """Severity of alerts whose runbook states none."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that is no alert, with what the agent should do."""

    text: str
    """What the person writes."""

    reply: str
    """Name of the reply that fits, or `ESCALATE`."""


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools of one agent with all that is needed to use them."""

    tools: Mapping[str, Tool]
    """Tools by name, in the order of the file, which is the order of the prompt."""

    rules: tuple[Rule, ...]
    """Rules; the first that fits decides, also where its call is not valid."""

    escalation: Escalation
    """How a person is called."""

    replies: Mapping[str, str]
    """Texts by name; `decline` and `clarify` are always there."""

    requests: tuple[Request, ...] = ()
    """Requests of this agent's surroundings."""

    sha256: str = field(repr=False)
    """Hash of the file's content."""

    def declarations(self) -> list[dict[str, Any]]:
        """Gives all tools as chat templates take them."""
        return [tool.to_message() for tool in self.tools.values()]

    def call_for(self, line: CommandLine, *, alert: str, severity: str) -> ToolCall | None:
        """Gives the call that stands for a command, or None where there is no valid one.

        A line with a second command, a filter that acts or a redirection into a file stands for
        more than one call can say, so it gives None.
        """
        if not line.is_single:
            return None
        fields = {
            **line.head.fields(),
            "text": line.text,
            "risk": str(line.risk),
            "alert": alert,
            "severity": severity,
        }
        rule = next((rule for rule in self.rules if rule.matches(fields)), None)
        if rule is None:
            return None
        tool = self.tools[rule.tool]
        call = ToolCall(name=tool.name, arguments=_coerced(tool, rule.fill(fields)))
        return None if tool.errors(call.arguments) else call

    def escalation_call(self, *, alert: str, severity: str, reason: str) -> ToolCall:
        """Gives the call that hands an alert to a person."""
        fields: dict[str, JSON] = {
            "alert": alert,
            "severity": severity or self.escalation.default_severity,
            "reason": self.escalation.reasons[reason],
        }
        rule = Rule(tool=self.escalation.tool, when={}, arguments=self.escalation.arguments)
        return ToolCall(name=rule.tool, arguments=rule.fill(fields))

    def errors(self, call: ToolCall) -> list[str]:
        """Lists what is wrong with a call: an unknown tool, or arguments against its schema."""
        tool = self.tools.get(call.name)
        return tool.errors(call.arguments) if tool else [f"no tool is named {call.name!r}"]


def read_tools(path: Path) -> Toolbox:
    """Reads and checks `tools.yaml`.

    Raises:
        ToolsError: The file is missing or wrong; the message names the place and the mend.
    """
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise ToolsError(str(error)) from error
    return _Reader(path, content).toolbox()


class _Reader:
    """Builds a toolbox from the file's content, naming the place of every error."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self.content = content

    def toolbox(self) -> Toolbox:
        for key in self.content:
            self._require(key in _SECTIONS, key, f"is unknown; use {', '.join(_SECTIONS)}")
        tools = self._tools()
        escalation = self._escalation(tools)
        replies = self._replies()
        return Toolbox(
            tools=tools,
            rules=self._rules(tools),
            escalation=escalation,
            replies=replies,
            requests=self._requests(replies),
            sha256=hashlib.sha256(
                json.dumps(self.content, sort_keys=True, default=str).encode()
            ).hexdigest(),
        )

    def _tools(self) -> dict[str, Tool]:
        tools: dict[str, Tool] = {}
        for at, entry in enumerate(self._list("tools")):
            place = f"tools[{at}]"
            name = self._text(entry, "name", place)
            self._require(
                _TOOL_NAME.fullmatch(name) is not None,
                f"{place}.name",
                f"{name!r} must be snake case, as in restart_service",
            )
            self._require(name not in tools, f"{place}.name", f"{name!r} is declared twice")
            parameters = entry.get("parameters") or {"type": "object", "properties": {}}
            self._check_schema(parameters, f"{place}.parameters")
            tools[name] = Tool(
                name=name,
                description=self._text(entry, "description", place),
                parameters=parameters,
            )
        self._require(bool(tools), "tools", "is empty; declare at least the escalation tool")
        return tools

    def _check_schema(self, parameters: Any, place: str) -> None:
        try:
            Draft202012Validator.check_schema(parameters)
        except SchemaError as error:
            raise ToolsError(
                f"{self.path}: {place} is no JSON schema: {error.message}; see json-schema.org"
            ) from error
        properties = parameters.get("properties", {})
        self._require(parameters.get("type") == "object", place, "must have type: object")
        absent = [name for name in parameters.get("required", []) if name not in properties]
        self._require(not absent, place, f"requires {absent} without declaring them")

    def _rules(self, tools: Mapping[str, Tool]) -> tuple[Rule, ...]:
        rules = []
        for at, entry in enumerate(self._list("rules")):
            place = f"rules[{at}]"
            name = self._text(entry, "tool", place)
            self._require(
                name in tools, f"{place}.tool", f"{name!r} is not declared; use {', '.join(tools)}"
            )
            arguments = entry.get("arguments") or {}
            self._check_arguments(arguments, tools[name], f"{place}.arguments")
            when = {
                key: tuple(map(str, value if isinstance(value, list) else [value]))
                for key, value in (entry.get("when") or {}).items()
            }
            self._require(bool(when), f"{place}.when", "is empty; name a program, verb or risk")
            self._check_fields(when, f"{place}.when")
            rules.append(Rule(tool=name, when=when, arguments=arguments))
        return tuple(rules)

    def _check_arguments(self, arguments: Mapping[str, Any], tool: Tool, place: str) -> None:
        known = tool.parameters.get("properties", {})
        for argument in arguments:
            self._require(
                argument in known, place, f"fills {argument!r}, which {tool.name} does not take"
            )
        for argument in tool.parameters.get("required", []):
            self._require(
                argument in arguments, place, f"leaves out {argument!r}, which {tool.name} requires"
            )

        for template in arguments.values():
            fields = (match["name"] for match in _FIELD.finditer(str(template)))
            self._check_fields(fields, place)

    def _check_fields(self, names: Iterable[str], place: str) -> None:
        for name in names:
            self._require(
                name in _FIELDS or name.startswith(("flags.", "arguments.")),
                place,
                f"refers to {name!r}, which no command has; use {', '.join(_FIELDS)}",
            )

    def _escalation(self, tools: Mapping[str, Tool]) -> Escalation:
        entry = self.content.get("escalation") or {}
        name = self._text(entry, "tool", "escalation")
        self._require(name in tools, "escalation.tool", f"{name!r} is not declared under tools")
        reasons = entry.get("reasons") or {}
        for reason in REASONS:
            self._require(
                isinstance(reasons.get(reason), str),
                "escalation.reasons",
                f"lacks a text for {reason!r}",
            )
        arguments = entry.get("arguments") or {}
        self._check_arguments(arguments, tools[name], "escalation.arguments")
        return Escalation(
            tool=name,
            arguments=arguments,
            reasons=reasons,
            default_severity=str(entry.get("default_severity", "warning")),
        )

    def _replies(self) -> dict[str, str]:
        replies = self.content.get("replies") or {}
        for name in ("decline", "clarify"):
            self._require(isinstance(replies.get(name), str), "replies", f"lacks {name!r}")
        return dict(replies)

    def _requests(self, replies: Mapping[str, str]) -> tuple[Request, ...]:
        requests = []
        groups = self.content.get("requests") or {}
        self._require(isinstance(groups, dict), "requests", "must map replies to lists of texts")
        for reply, texts in groups.items():
            place = f"requests.{reply}"
            self._require(
                reply in replies or reply == ESCALATE,
                place,
                f"is no reply; use one of {', '.join([*replies, ESCALATE])}",
            )
            self._require(
                isinstance(texts, list) and all(isinstance(text, str) for text in texts),
                place,
                "must be a list of texts",
            )
            requests += [Request(text=text.strip(), reply=reply) for text in texts]
        return tuple(requests)

    def _list(self, key: str) -> list[Mapping[str, Any]]:
        value = self.content.get(key)
        entries = value if isinstance(value, list) else []
        self._require(
            isinstance(value, list) and all(isinstance(entry, dict) for entry in entries),
            key,
            "must be a list of entries",
        )
        return entries

    def _text(self, entry: Mapping[str, Any], key: str, place: str) -> str:
        value = entry.get(key)
        self._require(
            isinstance(value, str) and bool(value.strip()),
            f"{place}.{key}",
            f"is {value!r}; write a text",
        )
        return str(value).strip()

    def _require(self, condition: bool, place: str, message: str) -> None:
        if not condition:
            raise ToolsError(f"{self.path}: {place} {message}")


_SHOWN = ("description", "enum", "items", "required", "type")


def _shown(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Keeps of a schema what a model is told; limits and patterns only check the answer."""
    shown = {key: schema[key] for key in _SHOWN if key in schema}
    if isinstance(shown.get("items"), dict):
        shown["items"] = _shown(shown["items"])
    if "properties" in schema:
        shown["properties"] = {name: _shown(s) for name, s in schema["properties"].items()}
    return shown


def _fill(template: JSON, fields: Mapping[str, JSON]) -> object:
    """Fills one template: a lone `{field}` keeps its type, others become text."""
    if isinstance(template, list):
        items = [_fill(item, fields) for item in template]
        return [item for item in items if item is not _MISSING]
    if not isinstance(template, str):
        return template
    if lone := _FIELD.fullmatch(template):
        return _value(lone, fields)
    values = [_value(match, fields) for match in _FIELD.finditer(template)]
    if _MISSING in values:
        return _MISSING
    return _FIELD.sub(lambda match: str(_value(match, fields)), template)


def _value(match: re.Match[str], fields: Mapping[str, JSON]) -> object:
    """Gives a field's value or its default; a default of true or false is a boolean."""
    if match["name"] in fields:
        return fields[match["name"]]
    if match["default"] is None:
        return _MISSING
    return {"true": True, "false": False}.get(match["default"], match["default"])


def _coerced(tool: Tool, arguments: Mapping[str, JSON]) -> dict[str, JSON]:
    """Gives digits as numbers where the schema says so, since flags are text."""
    result: dict[str, JSON] = {}
    for name, value in arguments.items():
        is_digits = isinstance(value, str) and value.isdigit()
        wants_number = tool.type_of(name) in ("integer", "number")
        result[name] = int(cast(str, value)) if is_digits and wants_number else value
    return result

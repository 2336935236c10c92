"""An agent's tools: declarations, and the rules by which a runbook's commands become calls.

`tools_file` reads them from `agents/<name>/tools.yaml`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from jsonschema import Draft202012Validator

from training.commands import CommandLine
from training.function_calls import JSON, ToolCall

FIELD_PATTERN = re.compile(r"\{(?P<name>[a-z][\w.-]*)(?:\|(?P<default>[^{}]*))?\}")
"""A field in a template, `{name}` or `{name|default}`."""

_MISSING = object()
REASONS = ("no_safe_command", "destructive_only", "unknown_alert")
"""Why an agent hands a request to a person; a tools file gives a text for each."""

ESCALATE = "escalate"
"""In place of a reply: call a person."""


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
    """What the person writes; `{this|that}` stands for both."""

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
    if lone := FIELD_PATTERN.fullmatch(template):
        return _value(lone, fields)
    values = [_value(match, fields) for match in FIELD_PATTERN.finditer(template)]
    if _MISSING in values:
        return _MISSING
    return FIELD_PATTERN.sub(lambda match: str(_value(match, fields)), template)


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

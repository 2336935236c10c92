"""Reads `agents/<name>/tools.yaml`.

Its sections:

    tools:       name, description and JSON schema of each tool
    rules:       which commands a tool stands for, and which fields fill its arguments
    escalation:  the tool that calls a person, and its reasons
    replies:     what the agent says where no tool fits
    requests:    requests of this agent's surroundings, by the reply they need or `escalate`;
                 `{this|that}` stands for both
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from training.alternatives import expanded
from training.tools import (
    ESCALATE,
    FIELD_PATTERN,
    REASONS,
    Escalation,
    Request,
    Rule,
    Tool,
    Toolbox,
)
from training.yaml_files import YamlError, read_yaml

_TOOL_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_FIELDS = (
    *("program", "verb", "resource", "name", "namespace", "arguments", "flags", "words", "inner"),
    *("risk", "text", "alert", "severity", "reason"),
)
_SECTIONS = ("tools", "rules", "escalation", "replies", "requests")


class ToolsError(ValueError):
    """A tools file that declares something wrong; the message names the file and the place."""


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
            fields = (match["name"] for match in FIELD_PATTERN.finditer(str(template)))
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
            for text in texts:
                self._require(
                    not re.search("[{}]", next(expanded(text))),
                    place,
                    f"has braces without a choice in {text!r}; write {{this|that}}",
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

"""FunctionGemma's notation for calls and tool declarations: a parser, and a renderer beside it.

A call reads `<start_function_call>call:NAME{key:<escape>text<escape>,n:3}<end_function_call>`.
Strings stand between two `<escape>` tokens, so braces and commas inside them are text; numbers,
`true`, `false` and `null` stand bare; objects and arrays nest. Keys are sorted without regard to
case, as the model's chat template sorts them.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

CALL_START = "<start_function_call>"
CALL_END = "<end_function_call>"
DECLARATION_START = "<start_function_declaration>"
DECLARATION_END = "<end_function_declaration>"
RESPONSE_START = "<start_function_response>"
ESCAPE = "<escape>"
DEVELOPER_PROMPT = "You are a model that can do function calling with the following functions"
"""The first line of the developer turn; the model was trained on these very words."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS: Mapping[str, JSON] = {
    "true": True,
    "false": False,
    "null": None,
    # Jinja prints Python's spelling where a template forgets to lower it.
    "True": True,
    "False": False,
    "None": None,
}
_MARKERS = (CALL_START, CALL_END, ESCAPE)
_MAX_DEPTH = 64


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a tool, as parsed from text or as expected by a data set."""

    name: str
    """Name of the tool."""

    arguments: Mapping[str, JSON] = field(default_factory=dict)
    """Named arguments; values are plain JSON."""

    def to_message(self) -> dict[str, Any]:
        """Gives the form that chat templates take as an element of `tool_calls`."""
        return {
            "type": "function",
            "function": {"name": self.name, "arguments": dict(self.arguments)},
        }


@dataclass(frozen=True, kw_only=True)
class ParsedOutput:
    """What a model's output holds: calls in order, and the text around them."""

    calls: tuple[ToolCall, ...]
    """The calls, in the order of the text."""

    text: str
    """What stands outside the calls, stripped."""


class FunctionCallError(ValueError):
    """Text that opens a call but is not one, or a value that the notation cannot hold."""

    def __init__(self, message: str, *, position: int | None = None) -> None:
        where = "" if position is None else f" at character {position}"
        super().__init__(f"function call{where}: {message}")
        self.position = position
        """Offset into the parsed text, or None where a value was rendered."""


def parse_output(text: str) -> ParsedOutput:
    """Finds every call in a model's output.

    Args:
        text: The decoded output, with or without words around the calls. Turn markers such as
            `<end_of_turn>` are part of the remaining text unless the decoder dropped them.

    Raises:
        FunctionCallError: A call is opened and not well formed, or a closing marker stands alone.
    """
    calls, outside, position = [], [], 0
    while (start := text.find(CALL_START, position)) >= 0:
        outside.append(_checked_outside(text, position, start))
        reader = _Reader(text, start + len(CALL_START))
        calls.append(reader.call())
        position = reader.position
    outside.append(_checked_outside(text, position, len(text)))
    return ParsedOutput(calls=tuple(calls), text=" ".join(part for part in outside if part))


def render_call(call: ToolCall) -> str:
    """Writes a call in the model's notation; `parse_output` reads it back unchanged.

    >>> render_call(ToolCall(name="scale", arguments={"replicas": 2, "name": "web"}))
    '<start_function_call>call:scale{name:<escape>web<escape>,replicas:2}<end_function_call>'

    Raises:
        FunctionCallError: A name, key or string cannot be written, or a number is not finite.
    """
    if not _NAME.fullmatch(call.name):
        raise FunctionCallError(f"name {call.name!r} must be letters, digits, '_', '-' and '.'")
    return f"{CALL_START}call:{call.name}{_render_object(call.arguments)}{CALL_END}"


def render_calls(calls: Iterable[ToolCall]) -> str:
    """Writes several calls one after the other, with nothing between them."""
    return "".join(render_call(call) for call in calls)


def render_declaration(tool: Mapping[str, Any]) -> str:
    """Writes one tool, in the form of chat templates, as the developer turn holds it."""
    function = tool["function"]
    parameters = function.get("parameters") or {}
    parts = [f"description:{_render(function.get('description', ''))}"]
    if parameters:
        schema = []
        if parameters.get("properties"):
            schema.append(f"properties:{{{_render_properties(parameters['properties'])}}}")
        if parameters.get("required"):
            schema.append(f"required:{_render(list(parameters['required']))}")
        schema.append(f"type:{_render(str(parameters.get('type', 'object')).upper())}")
        parts.append(f"parameters:{{{','.join(schema)}}}")
    body = ",".join(parts)
    return f"{DECLARATION_START}declaration:{function['name']}{{{body}}}{DECLARATION_END}"


def _render_properties(properties: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes the properties of an object's schema, sorted by key, nested schemas included."""
    return ",".join(
        f"{key}:{{{_render_schema(schema)}}}" for key, schema in _sorted_items(properties)
    )


def _render_schema(schema: Mapping[str, Any]) -> str:
    """Writes one property's schema: description, then what its type adds, then the type."""
    parts = []
    if schema.get("description"):
        parts.append(f"description:{_render(schema['description'])}")
    kind = str(schema.get("type", "string")).upper()
    if schema.get("enum"):
        parts.append(f"enum:{_render(list(schema['enum']))}")
    if kind == "ARRAY" and schema.get("items"):
        parts.append(f"items:{{type:{_render(str(schema['items'].get('type', '')).upper())}}}")
    if kind == "OBJECT" and schema.get("properties"):
        parts.append(f"properties:{{{_render_properties(schema['properties'])}}}")
        if schema.get("required"):
            parts.append(f"required:{_render(list(schema['required']))}")
    parts.append(f"type:{_render(kind)}")
    return ",".join(parts)


def _render(value: Any) -> str:
    """Writes any JSON value."""
    if isinstance(value, str):
        if marker := next((marker for marker in _MARKERS if marker in value), None):
            raise FunctionCallError(f"the text {value!r} holds the marker {marker}; remove it")
        return f"{ESCAPE}{value}{ESCAPE}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FunctionCallError(f"the number {value} is not finite; leave the argument out")
        return repr(value)
    if isinstance(value, Mapping):
        return _render_object(value)
    if isinstance(value, Sequence):
        return f"[{','.join(_render(item) for item in value)}]"
    raise FunctionCallError(f"{type(value).__name__} is not a JSON value")


def _render_object(value: Mapping[str, Any]) -> str:
    """Writes an object; a key that is no plain name is escaped like a string."""
    parts = (
        f"{key if _NAME.fullmatch(key) else _render(key)}:{_render(item)}"
        for key, item in _sorted_items(value)
    )
    return f"{{{','.join(parts)}}}"


def _sorted_items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Sorts by key as Jinja's `dictsort` does: without regard to case."""
    return sorted(value.items(), key=lambda item: item[0].lower())


def _checked_outside(text: str, start: int, end: int) -> str:
    """Gives the text between two calls, which must not close a call that never began."""
    if (stray := text.find(CALL_END, start, end)) >= 0:
        raise FunctionCallError(f"{CALL_END} without {CALL_START}", position=stray)
    return text[start:end].strip()


class _Reader:
    """A recursive-descent reader of one call."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position

    def call(self) -> ToolCall:
        self._expect("call:")
        name = self._match(_NAME, "a function name")
        arguments = self._object(depth=0)
        self._expect(CALL_END)
        return ToolCall(name=name, arguments=arguments)

    def _object(self, *, depth: int) -> dict[str, JSON]:
        self._expect("{")
        result: dict[str, JSON] = {}
        if self._take("}"):
            return result
        while True:
            start = self.position
            key = self._string() if self._ahead(ESCAPE) else self._match(_NAME, "a key")
            if key in result:
                raise FunctionCallError(f"the key {key!r} comes twice", position=start)
            self._expect(":")
            result[key] = self._value(depth=depth + 1)
            if self._take("}"):
                return result
            self._expect(",")

    def _array(self, *, depth: int) -> list[JSON]:
        self._expect("[")
        result: list[JSON] = []
        if self._take("]"):
            return result
        while True:
            result.append(self._value(depth=depth + 1))
            if self._take("]"):
                return result
            self._expect(",")

    def _value(self, *, depth: int) -> JSON:
        if depth > _MAX_DEPTH:
            raise FunctionCallError(f"nested deeper than {_MAX_DEPTH}", position=self.position)
        self._skip_space()
        if self._ahead(ESCAPE):
            return self._string()
        if self._ahead("{"):
            return self._object(depth=depth)
        if self._ahead("["):
            return self._array(depth=depth)
        return self._word()

    def _string(self) -> str:
        start = self.position
        self._expect(ESCAPE)
        end = self.text.find(ESCAPE, self.position)
        if end < 0:
            raise FunctionCallError(f"a string is not closed by {ESCAPE}", position=start)
        value = self.text[self.position : end]
        self.position = end + len(ESCAPE)
        return value

    def _word(self) -> JSON:
        start = self.position
        number = _NUMBER.match(self.text, start)
        word = number or _NAME.match(self.text, start)
        if word is None:
            raise FunctionCallError("a value is missing", position=start)
        self.position = word.end()
        text = word.group()
        if number is None:
            if text not in _WORDS:
                raise FunctionCallError(f"the text {text!r} lacks {ESCAPE}", position=start)
            return _WORDS[text]
        if text.lstrip("-").isdigit():
            return int(text)
        if not math.isfinite(value := float(text)):
            raise FunctionCallError(f"the number {text} is too large", position=start)
        return value

    def _ahead(self, literal: str) -> bool:
        return self.text.startswith(literal, self.position)

    def _skip_space(self) -> None:
        while self.position < len(self.text) and self.text[self.position] in " \t\r\n":
            self.position += 1

    def _take(self, literal: str) -> bool:
        self._skip_space()
        if not self._ahead(literal):
            return False
        self.position += len(literal)
        return True

    def _expect(self, literal: str) -> None:
        if not self._take(literal):
            found = self.text[self.position : self.position + 12] or "the end"
            raise FunctionCallError(
                f"expected {literal!r}, found {found!r}", position=self.position
            )

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        self._skip_space()
        match = pattern.match(self.text, self.position)
        if match is None:
            raise FunctionCallError(f"expected {what}", position=self.position)
        self.position = match.end()
        return match.group()

"""Compares calls with an accepted answer and says what kind of difference there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations
from typing import Any

from training.examples import AcceptedCall, Answer
from training.function_calls import JSON, ToolCall
from training.tools import Toolbox

_MAX_PERMUTED = 5


class ErrorKind(StrEnum):
    """What is wrong with an output, the worst first."""

    UNPARSABLE = "unparsable"
    WRONG_COUNT = "wrong_count"
    WRONG_FUNCTION = "wrong_function"
    MISSING_ARGUMENT = "missing_argument"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    WRONG_TYPE = "wrong_type"
    WRONG_VALUE = "wrong_value"


_CLOSENESS = {kind: at for at, kind in enumerate(ErrorKind)}


@dataclass(frozen=True, kw_only=True)
class CallError:
    """Why an output does not count as right."""

    kind: ErrorKind
    """What is wrong."""

    message: str
    """Which call or argument, what it should be, what it is."""

    @property
    def closeness(self) -> int:
        """Orders kinds of errors: the higher, the closer the calls are to the answer."""
        return _CLOSENESS[self.kind]


def compare_calls(calls: Sequence[ToolCall], answer: Answer, toolbox: Toolbox) -> CallError | None:
    """Compares calls with one answer; several calls may come in any order."""
    if len(calls) != len(answer):
        message = f"{len(answer)} calls wanted, {len(calls)} made"
        return CallError(kind=ErrorKind.WRONG_COUNT, message=message)
    orders = permutations(answer) if len(answer) <= _MAX_PERMUTED else [answer]
    closest: CallError | None = None
    for order in orders:
        errors = [
            error
            for call, wanted in zip(calls, order, strict=True)
            if (error := _compare_one(call, wanted, toolbox))
        ]
        if not errors:
            return None
        worst = min(errors, key=lambda error: error.closeness)
        if closest is None or worst.closeness > closest.closeness:
            closest = worst
    return closest


def _compare_one(call: ToolCall, wanted: AcceptedCall, toolbox: Toolbox) -> CallError | None:
    if call.name != wanted.name:
        return CallError(
            kind=ErrorKind.WRONG_FUNCTION, message=f"{call.name} instead of {wanted.name}"
        )
    for name in wanted.arguments:
        if name not in call.arguments:
            return CallError(kind=ErrorKind.MISSING_ARGUMENT, message=f"{call.name} lacks {name!r}")
    for name in call.arguments:
        if name not in wanted.arguments:
            return CallError(
                kind=ErrorKind.UNEXPECTED_ARGUMENT, message=f"{call.name} has {name!r} too much"
            )
    tool = toolbox.tools.get(call.name)
    for name, values in wanted.arguments.items():
        value = call.arguments[name]
        type_wanted = tool.type_of(name) if tool else ""
        if type_wanted and not _has_type(value, type_wanted):
            return CallError(
                kind=ErrorKind.WRONG_TYPE,
                message=f"{call.name}.{name} is {value!r}, not of type {type_wanted}",
            )
        if values and not any(_equal(value, accepted) for accepted in values):
            return CallError(
                kind=ErrorKind.WRONG_VALUE,
                message=f"{call.name}.{name} is {value!r} instead of {values[0]!r}",
            )
    return None


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


def _has_type(value: JSON, name: str) -> bool:
    """Whether a value has a JSON type; true and false are no numbers."""
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, (object,)))


def _equal(left: Any, right: Any) -> bool:
    """Compares JSON values: 1 equals 1.0 but not true, and tuples equal lists."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)

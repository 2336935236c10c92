"""Examples of an agent's data set, and the answers that count as right."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from training.function_calls import DEVELOPER_PROMPT, JSON, ToolCall


class Split(StrEnum):
    """The parts of a data set; no text is in two of them."""

    TRAIN = "train"
    VALID = "valid"
    TEST_KNOWN = "test_known"
    """Alerts that training knows, in words it does not."""

    TEST_UNSEEN = "test_unseen"
    """Alerts that training does not know."""

    TEST_IRRELEVANT = "test_irrelevant"
    """Requests that need a reply or a person, not an action."""


class Kind(StrEnum):
    """What an example asks."""

    RESOLVE = "resolve"
    INVESTIGATE = "investigate"
    UNKNOWN_ALERT = "unknown_alert"
    IRRELEVANT = "irrelevant"
    SURROUNDING = "surrounding"


@dataclass(frozen=True, kw_only=True)
class AcceptedCall:
    """A call that counts as right, with the values each argument may have."""

    name: str
    """Name of the tool."""

    arguments: Mapping[str, tuple[JSON, ...]] = field(default_factory=dict)
    """Accepted values by argument; an empty tuple accepts any value of the right type."""

    @classmethod
    def of(cls, call: ToolCall, *, anything: Iterable[str] = ()) -> "AcceptedCall":
        """Accepts exactly this call, but any value for the named arguments."""
        free = frozenset(anything)
        return cls(
            name=call.name,
            arguments={
                name: () if name in free else (value,) for name, value in call.arguments.items()
            },
        )


Answer = tuple[AcceptedCall, ...]
"""The calls of one right answer; an empty tuple is a reply without a call."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One request with the answer that training shows and the answers that tests accept."""

    id: str
    """Stable name: split, alert or topic, and phrasing."""

    split: Split
    """The part of the data set it belongs to."""

    kind: Kind
    """What it asks."""

    alert: str
    """The alert it is about, or an empty string."""

    phrasing: str
    """Name of the phrasing it was written with."""

    request: str
    """What the user turn says."""

    calls: tuple[ToolCall, ...] = ()
    """The calls of the model's turn."""

    reply: str = ""
    """The text of the model's turn where it calls nothing."""

    accepted: tuple[Answer, ...] = ()
    """Every answer that counts as right; the first is the one shown in training."""

    def messages(self) -> list[dict[str, Any]]:
        """Gives the conversation as chat templates take it: developer, user, assistant."""
        answer: dict[str, Any] = {"role": "assistant", "content": self.reply}
        if self.calls:
            answer["tool_calls"] = [call.to_message() for call in self.calls]
        return [
            {"role": "developer", "content": DEVELOPER_PROMPT},
            {"role": "user", "content": self.request},
            answer,
        ]

    def to_record(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Gives one JSON line: `messages` and `tools`, with what scoring needs beside them."""
        return {
            "id": self.id,
            "split": str(self.split),
            "kind": str(self.kind),
            "alert": self.alert,
            "phrasing": self.phrasing,
            "messages": self.messages(),
            "tools": list(tools),
            "accepted": [
                [
                    {
                        "name": call.name,
                        "arguments": {name: list(v) for name, v in call.arguments.items()},
                    }
                    for call in answer
                ]
                for answer in self.accepted
            ],
        }


def read_examples(path: Path) -> tuple[Example, ...]:
    """Reads examples back from a JSONL file.

    Raises:
        ValueError: A line is not an example; the message names the file and the line.
    """
    examples = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                examples.append(_from_record(json.loads(line)))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}:{number}: is not an example ({error}); prepare the data set again"
                ) from error
    return tuple(examples)


def _from_record(record: Mapping[str, Any]) -> Example:
    _, user, answer = record["messages"]
    return Example(
        id=record["id"],
        split=Split(record["split"]),
        kind=Kind(record["kind"]),
        alert=record["alert"],
        phrasing=record["phrasing"],
        request=user["content"],
        calls=tuple(
            ToolCall(name=call["function"]["name"], arguments=call["function"]["arguments"])
            for call in answer.get("tool_calls", ())
        ),
        reply=answer["content"],
        accepted=tuple(
            tuple(
                AcceptedCall(
                    name=call["name"],
                    arguments={name: tuple(v) for name, v in call["arguments"].items()},
                )
                for call in answer
            )
            for answer in record["accepted"]
        ),
    )

"""Conversations in `messages` + `tools` form, tokenised, with the loss on answers alone."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from training.batches import IGNORED

LongExamples = Literal["refuse", "truncate"]


class ConversationError(ValueError):
    """A line that is no conversation, or one that the chat template cannot split."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One tokenised conversation."""

    ids: tuple[int, ...]
    """Tokens of the whole conversation."""

    answers: tuple[tuple[int, int], ...]
    """Spans [start, end) of the tokens that the model is to produce, in order."""

    tools_length: int = 0
    """Tokens before the first request: tools and instructions, which are never truncated."""

    def labels(self) -> tuple[int, ...]:
        """Returns for each token the next one where that is part of an answer, else IGNORED."""
        labels = [IGNORED] * len(self.ids)
        for start, end in self.answers:
            labels[start - 1 : end - 1] = self.ids[start:end]
        return tuple(labels)


@dataclass(frozen=True, kw_only=True)
class ConversationReport:
    """What was read, and what had to be cut."""

    num_conversations: int
    """Conversations that are trained on."""

    num_tokens: int
    """Their tokens."""

    num_targets: int
    """Their answers' tokens."""

    longest: int
    """Tokens of the longest one as it was read."""

    truncated: int
    """Conversations that lost tokens at the start of their first request."""

    tokens_cut: int
    """Tokens they lost."""


def read_conversations(path: Path) -> list[Mapping[str, Any]]:
    """Reads JSONL lines that have `messages` and perhaps `tools`.

    Raises:
        ConversationError: A line is not JSON, or has no messages; it names the line.
    """
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConversationError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict) or not record.get("messages"):
            raise ConversationError(
                f"{path}, line {number} has no messages; give messages and tools on every line"
            )
        records.append(record)
    if not records:
        raise ConversationError(f"{path} has no conversation; prepare the data again")
    return records


def render_prompt(record: Mapping[str, Any], tokenizer: Any) -> list[int]:
    """Returns the tokens of a conversation up to where its last answer begins."""
    messages = record["messages"]
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return _encode(_render(messages, record, tokenizer, ask=True), tokenizer)


def tokenise_conversation(
    record: Mapping[str, Any], tokenizer: Any, probes: "_Probes | None" = None
) -> Conversation:
    """Renders with the tokenizer's chat template; every assistant message is an answer.

    Each stretch is tokenised on its own, as it is when the model answers: what it was asked, then
    what it says.

    Raises:
        ConversationError: There is no answer, or the template does not keep the text so far when
            a message is added.
    """
    messages = record["messages"]
    rendered = ""
    ids: list[int] = []
    answers: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = _render(messages[:index], record, tokenizer, ask=True)
        told = _render(messages[: index + 1], record, tokenizer, ask=False)
        if not (asked.startswith(rendered) and told.startswith(asked)):
            raise ConversationError(
                f"the chat template rewrites earlier text when message {index + 1} is added; "
                "give single-turn conversations or another tokenizer"
            )
        ids += _encode(asked[len(rendered) :], tokenizer)
        start = len(ids)
        # A newline after the end of the turn is the template's, not the model's.
        ids += _encode(told[len(asked) :].rstrip("\n"), tokenizer)
        answers.append((start, len(ids)))
        rendered = asked + told[len(asked) :].rstrip("\n")
    if not answers or answers[-1][0] == answers[-1][1]:
        raise ConversationError("a conversation has no answer; end it with an assistant message")
    return Conversation(
        ids=tuple(ids),
        answers=tuple(answers),
        tools_length=(probes or _Probes(tokenizer)).before_request(record, ids),
    )


def fit_conversations(
    conversations: Sequence[Conversation], *, max_length: int, long: LongExamples
) -> tuple[list[Conversation], ConversationReport]:
    """Applies the rule for conversations longer than `max_length` tokens, and counts them.

    Args:
        conversations: As read.
        max_length: Longest conversation to train on.
        long: "refuse" raises; "truncate" cuts tokens right after the tools and instructions, from
            the start of the request, and never from an answer.

    Raises:
        ValueError: One is too long and may not, or cannot, be cut.
    """
    fitted: list[Conversation] = []
    cut: Counter[str] = Counter()
    for number, conversation in enumerate(conversations, start=1):
        excess = len(conversation.ids) - max_length
        if excess > 0:
            room = conversation.answers[0][0] - 1 - conversation.tools_length
            if long == "refuse" or room < excess:
                mend = "raise max_length" + (" or truncate" if room >= excess else "")
                raise ValueError(
                    f"conversation {number} has {len(conversation.ids)} tokens, max_length is "
                    f"{max_length}; {mend}"
                )
            conversation = _without(conversation, excess)  # noqa: PLW2901 - the shorter one
            cut["conversations"] += 1
            cut["tokens"] += excess
        fitted.append(conversation)
    return fitted, ConversationReport(
        num_conversations=len(fitted),
        num_tokens=sum(len(conversation.ids) for conversation in fitted),
        num_targets=sum(end - start for c in fitted for start, end in c.answers),
        longest=max((len(conversation.ids) for conversation in conversations), default=0),
        truncated=cut["conversations"],
        tokens_cut=cut["tokens"],
    )


def tokenise_all(records: Iterable[Mapping[str, Any]], tokenizer: Any) -> list[Conversation]:
    """Tokenises conversations; an error names the number of the one at fault."""
    conversations, probes = [], _Probes(tokenizer)
    for number, record in enumerate(records, start=1):
        try:
            conversations.append(tokenise_conversation(record, tokenizer, probes))
        except ConversationError as error:
            raise ConversationError(f"conversation {number}: {error}") from error
    return conversations


class _Probes:
    """Two made-up requests in the place of the real one, to see where the prompt depends on it.

    Templates differ in where they put tools and instructions, so this is found by rendering.
    Conversations with the same tools and instructions share the result.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[list[int], ...]] = {}

    def before_request(self, record: Mapping[str, Any], ids: Sequence[int]) -> int:
        """Returns how many first tokens of `ids` any request would have had."""
        messages = list(record["messages"])
        first = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
        if first is None:
            return 0
        key = json.dumps([messages[:first], record.get("tools")], sort_keys=True)
        if key not in self._known:
            probes = [[*messages[:first], {"role": "user", "content": text}] for text in ("0", "?")]
            self._known[key] = tuple(
                _encode(_render(probe, record, self._tokenizer, ask=False), self._tokenizer)
                for probe in probes
            )
        shared = len(ids)
        for probe in self._known[key]:
            differing = (i for i, (a, b) in enumerate(zip(ids, probe, strict=False)) if a != b)
            shared = min(shared, next(differing, len(probe)))
        return shared


def _without(conversation: Conversation, count: int) -> Conversation:
    """Removes `count` tokens after the tools."""
    at = conversation.tools_length
    return replace(
        conversation,
        ids=conversation.ids[:at] + conversation.ids[at + count :],
        answers=tuple((start - count, end - count) for start, end in conversation.answers),
    )


def _render(
    messages: Sequence[Mapping[str, Any]], record: Mapping[str, Any], tokenizer: Any, *, ask: bool
) -> str:
    return str(
        tokenizer.apply_chat_template(
            list(messages),
            tools=record.get("tools") or None,
            add_generation_prompt=ask,
            tokenize=False,
        )
    )


def _encode(text: str, tokenizer: Any) -> list[int]:
    """Tokenises text that has its special tokens spelled out."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])

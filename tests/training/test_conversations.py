"""Conversations: the loss is taken of answers alone, and long ones follow a stated rule."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.batches import IGNORED
from training.conversations import (
    ConversationError,
    fit_conversations,
    read_conversations,
    render_prompt,
    tokenise_all,
    tokenise_conversation,
)
from training.tiny_models import function_tokenizer

TOOL = {
    "type": "function",
    "function": {
        "name": "get_pods",
        "description": "Lists pods.",
        "parameters": {
            "type": "object",
            "properties": {
                "namespace": {"type": "string", "description": "Where.", "enum": ["a", "b"]},
                "limits": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["namespace"],
        },
    },
}


def _record(request: str = "Which pods run?", **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "get_pods", "arguments": arguments}}
    return {
        "messages": [
            {"role": "developer", "content": "You call functions"},
            {"role": "user", "content": request},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ],
        "tools": [TOOL],
    }


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A tokenizer with FunctionGemma's format."""
    return function_tokenizer(["which pods run in the namespace"] * 3, vocab_size=320)


def test_template_writes_functiongemmas_format(tokenizer: Any) -> None:
    """Declarations, turns, a call with nested values, its response and the final words."""
    record = _record(namespace="a}b", deep={"on": True, "n": [1, 2.5, None]})
    record["messages"] += [
        {"role": "tool", "name": "get_pods", "content": {"count": 2}},
        {"role": "assistant", "content": "Two."},
    ]
    text = tokenizer.apply_chat_template(record["messages"], tools=[TOOL], tokenize=False)
    assert text == (
        "<bos><start_of_turn>developer\nYou call functions"
        "<start_function_declaration>declaration:get_pods{description:<escape>Lists pods.<escape>,"
        "parameters:{properties:{limits:{items:{type:<escape>INTEGER<escape>},"
        "type:<escape>ARRAY<escape>},namespace:{description:<escape>Where.<escape>,"
        "enum:[<escape>a<escape>,<escape>b<escape>],type:<escape>STRING<escape>}},"
        "required:[<escape>namespace<escape>],type:<escape>OBJECT<escape>}}"
        "<end_function_declaration><end_of_turn>\n"
        "<start_of_turn>user\nWhich pods run?<end_of_turn>\n"
        "<start_of_turn>model\n<start_function_call>call:get_pods{deep:{n:[1,2.5,null],on:true},"
        "namespace:<escape>a}b<escape>}<end_function_call>"
        "<start_function_response>response:get_pods{count:2}<end_function_response>"
        "Two.<end_of_turn>\n"
    )


def test_answer_is_what_the_model_says_and_its_stop(tokenizer: Any) -> None:
    """Labels cover the call and the token that ends it, and nothing of the prompt."""
    conversation = tokenise_conversation(_record(namespace="a"), tokenizer)
    prompt = render_prompt(_record(namespace="a"), tokenizer)
    ((start, end),) = conversation.answers
    assert list(conversation.ids[:start]) == prompt
    assert end == len(conversation.ids)
    assert tokenizer.decode(conversation.ids[start:]) == (
        "<start_function_call>call:get_pods{namespace:<escape>a<escape>}<end_function_call>"
        "<start_function_response>"
    )
    labels = conversation.labels()
    assert labels[: start - 1] == (IGNORED,) * (start - 1)
    assert labels[start - 1 : -1] == conversation.ids[start:]


def test_every_assistant_message_is_an_answer(tokenizer: Any) -> None:
    """A call and the words after its response are both learned, the response is not."""
    record = _record(namespace="a")
    record["messages"] += [
        {"role": "tool", "name": "get_pods", "content": {"count": 2}},
        {"role": "assistant", "content": "Two pods."},
    ]
    conversation = tokenise_conversation(record, tokenizer)
    said = [tokenizer.decode(conversation.ids[a:b]) for a, b in conversation.answers]
    assert said[0].startswith("<start_function_call>")
    assert said[1] == "Two pods.<end_of_turn>"


def test_tools_are_what_all_requests_share(tokenizer: Any) -> None:
    """The length before the request is the same for every request, and ends in the user's turn."""
    one, two = tokenise_all(
        [_record("0 pods?", namespace="a"), _record("Pods in b", namespace="b")], tokenizer
    )
    assert one.tools_length == two.tools_length
    assert one.ids[: one.tools_length] == two.ids[: two.tools_length]
    assert tokenizer.decode(one.ids[: one.tools_length]).endswith("<start_of_turn>user\n")


def test_long_conversations_are_refused_or_cut_at_the_request(tokenizer: Any) -> None:
    """Truncation keeps tools and answer, and is counted; otherwise the number is named."""
    short, long = tokenise_all(
        [_record(namespace="a"), _record("pods " * 50, namespace="b")], tokenizer
    )
    limit = len(short.ids) + 3
    with pytest.raises(ValueError, match=f"conversation 2 has {len(long.ids)} tokens"):
        fit_conversations([short, long], max_length=limit, long="refuse")
    fitted, report = fit_conversations([short, long], max_length=limit, long="truncate")
    assert [len(c.ids) for c in fitted] == [len(short.ids), limit]
    assert (report.truncated, report.tokens_cut) == (1, len(long.ids) - limit)
    assert report.longest == len(long.ids)
    ((start, end),) = fitted[1].answers
    assert fitted[1].ids[start:end] == long.ids[slice(*long.answers[0])]
    assert fitted[1].ids[: long.tools_length] == long.ids[: long.tools_length]
    with pytest.raises(ValueError, match=r"raise max_length$"):
        fit_conversations([long], max_length=long.tools_length, long="truncate")


def test_template_that_rewrites_the_past_is_refused(tokenizer: Any) -> None:
    """Some templates drop earlier answers; their tokens cannot be learned in one pass."""
    other = function_tokenizer(["a"] * 3, vocab_size=320)
    other.chat_template = "{{ messages | length }}{{ messages[-1].content }}"
    with pytest.raises(ConversationError, match="conversation 1: the chat template rewrites"):
        tokenise_all([_record(namespace="a")], other)
    record = {"messages": [{"role": "user", "content": "hello"}]}
    with pytest.raises(ConversationError, match="has no answer"):
        tokenise_conversation(record, tokenizer)


def test_bad_lines_are_named(tmp_path: Path) -> None:
    """A line that is no JSON, one without messages, and an empty file."""
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(_record(namespace="a")) + "\n\n")
    assert len(read_conversations(path)) == 1
    path.write_text(json.dumps(_record()) + '\n{"text": "a"}\n')
    with pytest.raises(ConversationError, match="line 2 has no messages"):
        read_conversations(path)
    path.write_text("{\n")
    with pytest.raises(ConversationError, match="line 1 is not JSON"):
        read_conversations(path)
    path.write_text("")
    with pytest.raises(ConversationError, match="has no conversation"):
        read_conversations(path)

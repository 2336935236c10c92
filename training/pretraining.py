"""A small model's schooling: chat turns and calls made of random parts, learned in minutes.

It gives a model that runs offline what FunctionGemma brings along: the turns, the notation of
calls, copying names from a request. It says nothing of any agent: which tool answers which alert
is left to fine-tuning.
"""

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

from training.conversations import Conversation, tokenise_all
from training.finetune import FinetuneResult, finetune
from training.finetune_config import FinetuneConfig
from training.reporter import Guard, Reporter
from training.shared_prefix import ConversationBatches, answer_loss
from training.tokenizer import padding_id

PRETRAINING = FinetuneConfig(
    steps=250,
    learning_rate=3e-3,
    warmup_fraction=0.05,
    weight_decay=0.05,
    beta2=0.98,
    keep_best=False,
)
"""What makes the default small Gemma copy and call: about a minute on two cores."""

MOST_CHATS = 12000
"""Longer schooling goes through the same chats again."""

NUM_EVENTS = 200
"""Made-up events to be remembered."""

LONGEST_PART = 40
"""Characters of a value."""

LONGEST_READING = 128
"""Tokens of a text that is read."""

_NAME = re.compile(r"[A-Za-z_][\w.-]*")


def pretrain(
    model: Any,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    config: FinetuneConfig = PRETRAINING,
    batch_size: int = 24,
    reporter: Reporter | None = None,
    guard: Guard | None = None,
) -> FinetuneResult:
    """Trains all parameters of `model`, in place, on chats made of parts of `texts`.

    Args:
        model: A small model with random weights.
        tokenizer: Its tokenizer, with a chat template.
        texts: What values look like: requests, a runbook, declarations of tools.
        config: How to train; `seed` also decides the chats.
        batch_size: Chats of a step.
        reporter: Hears of every step.
        guard: May end it early.

    Raises:
        ValueError: The texts have no word.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("texts has no word; give the agent's requests or runbook")
    count = min(config.total_steps(1, 1) * batch_size, MOST_CHATS) // 2
    chats = tokenise_all(random_chats(tokenizer, texts, count=count, seed=config.seed), tokenizer)
    # Half of it is plain reading, so that words that stand in like places become alike.
    requests = random.Random(config.seed).choices(texts, k=count)
    chats += [_reading(text, tokenizer) for text in requests]
    batches = ConversationBatches(
        chats,
        batch_size=batch_size,
        padding_id=padding_id(tokenizer),
        seed=config.seed,
        share=False,
    )
    return finetune(model, batches, answer_loss, config=config, reporter=reporter, guard=guard)


def _reading(text: str, tokenizer: Any) -> Conversation:
    """Returns a request of which every token is to be predicted."""
    messages = [{"role": "user", "content": text}]
    written = str(tokenizer.apply_chat_template(messages, tokenize=False))
    ids = tokenizer(written, add_special_tokens=False)["input_ids"][:LONGEST_READING]
    return Conversation(ids=tuple(ids), answers=((1, len(ids)),))


def random_chats(
    tokenizer: Any, texts: Sequence[str], *, count: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Returns conversations of one request and one answer each; equal seeds, equal chats.

    Half of the requests name a made-up event among other words, and get the call that this event
    always gets; the others are answered by a call made of their own parts, or by repeating them.
    So what is learned is the notation, copying, and to look for the name that matters. Half of the
    values are tokens drawn from the vocabulary: one that is never an answer here would be unlikely
    for ever, because an adapter leaves the embedding alone.
    """
    draw = random.Random(seed)
    tokens = _plain_tokens(tokenizer)
    names = [token for token in tokens if _NAME.fullmatch(token)] or ["act"]
    words = [text.split() for text in texts]

    def part() -> str:
        if draw.random() < 0.5:
            return "".join(draw.choices(tokens, k=draw.randint(1, 3)))
        text = draw.choice(words)
        start = draw.randrange(len(text))
        return " ".join(text[start : start + draw.randint(1, 4)])[:LONGEST_PART]

    def call(keys: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(zip(keys[1:], values, strict=False))
        if draw.random() < 0.2:
            arguments[keys[-1]] = draw.choice([True, False, list(values[-1:])])
        function = {"name": keys[0], "arguments": arguments}
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": function}],
        }

    def keys() -> list[str]:
        return ["_".join(draw.choices(names, k=draw.randint(1, 2))) for _ in range(4)]

    # Made-up events, each with the one answer it always gets.
    events = {
        "".join(word.capitalize() for word in draw.choices(names, k=draw.randint(2, 4))): call(
            keys()[: draw.randint(2, 4)], [part(), part(), part()]
        )
        for _ in range(NUM_EVENTS)
    }
    known = sorted(events)
    chats = []
    for _ in range(count):
        around = [part() for _ in range(draw.randint(2, 5))]
        kind = draw.random()
        if kind < 0.5:
            event = draw.choice(known)
            answer, said = events[event], [*around, event]
            draw.shuffle(said)
        elif kind < 0.85:
            named = keys()
            answer, said = call(named[: draw.randint(1, 4)], around), [*named, *around]
        else:
            answer, said = {"role": "assistant", "content": " ".join(around[:3])}, around
        request = draw.choice([" ", ", ", "\n", '","', ": "]).join(said)
        chats.append({"messages": [{"role": "user", "content": request}, answer]})
    return chats


def _plain_tokens(tokenizer: Any) -> list[str]:
    """Returns the text of every token that is whole characters and no control token."""
    control = set(tokenizer.all_special_ids)
    texts = (tokenizer.decode([i]) for i in range(len(tokenizer)) if i not in control)
    return [text for text in texts if "\ufffd" not in text and text.strip()]

"""A small model's schooling: chat turns and calls made of random words, learned in minutes.

It gives a model that runs offline what FunctionGemma brings along: the turns, the notation of
calls, copying names from a request. It says nothing of any agent: which tool answers which alert
is left to fine-tuning.
"""

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

from training.conversations import tokenise_all
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

MOST_CHATS = 4000
"""Longer schooling goes through the same chats again."""

_WORD = re.compile(r"[\w$][\w$.:/=-]*")
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
    """Trains all parameters of `model`, in place, on chats made of the words of `texts`.

    Args:
        model: A small model with random weights.
        tokenizer: Its tokenizer, with a chat template.
        texts: Where the words come from: requests, a runbook, declarations of tools.
        config: How to train; `seed` also decides the chats.
        batch_size: Chats of a step.
        reporter: Hears of every step.
        guard: May end it early.

    Raises:
        ValueError: The texts have no word.
    """
    words = sorted({word for text in texts for word in _WORD.findall(text)})
    if not words:
        raise ValueError("texts has no word; give the agent's requests or runbook")
    count = min(config.total_steps(1, 1) * batch_size, MOST_CHATS)
    chats = tokenise_all(random_chats(words, count=count, seed=config.seed), tokenizer)
    batches = ConversationBatches(
        chats,
        batch_size=batch_size,
        padding_id=padding_id(tokenizer),
        seed=config.seed,
        share=False,
    )
    return finetune(model, batches, answer_loss, config=config, reporter=reporter, guard=guard)


def random_chats(words: Sequence[str], *, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Returns conversations of one request and one answer each; equal seeds, equal chats.

    Two answers in three are a call whose name, keys and values are words of the request; the rest
    repeat its first words. So nothing can be learned but the notation and copying.
    """
    draw = random.Random(seed)
    names = [word for word in words if _NAME.fullmatch(word)] or ["act"]
    chats = []
    for _ in range(count):
        keys = draw.choices(names, k=draw.randint(1, 4))
        values = draw.choices(words, k=draw.randint(3, 7))
        answer: dict[str, Any] = {"role": "assistant", "content": ""}
        if draw.random() < 2 / 3:
            name, *named = keys
            arguments: dict[str, Any] = dict(zip(named, values, strict=False))
            if draw.random() < 0.2:
                arguments[draw.choice(keys)] = draw.choice([True, False, values[-1:]])
            call = {"name": name, "arguments": arguments}
            answer["tool_calls"] = [{"type": "function", "function": call}]
        else:
            answer["content"] = " ".join(values[: draw.randint(1, 4)])
        request = draw.choice([" ", ", ", "\n"]).join([*keys, *values])
        chats.append({"messages": [{"role": "user", "content": request}, answer]})
    return chats

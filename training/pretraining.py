"""A small model's schooling: chat turns and calls made of random words, learned in minutes.

It gives a model that runs offline what FunctionGemma brings along: the turns, the notation of
calls, copying names from a request. It says nothing of any agent: which tool answers which alert
is left to fine-tuning.
"""

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

from training.conversations import Conversation
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

_WORD = re.compile(r"[\w$][\w$.:/=-]*")


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
    count = max(1, config.total_steps(1, 1)) * batch_size
    chats = [
        Conversation(ids=tuple(ids), answers=((1, len(ids)),))
        for ids in random_chats(words, tokenizer, count=min(count, 6000), seed=config.seed)
    ]
    batches = ConversationBatches(
        chats,
        batch_size=batch_size,
        padding_id=padding_id(tokenizer),
        seed=config.seed,
        share=False,
    )
    return finetune(model, batches, answer_loss, config=config, reporter=reporter, guard=guard)


def random_chats(
    words: Sequence[str], tokenizer: Any, *, count: int, seed: int = 0
) -> list[list[int]]:
    """Returns tokenised chats of one request and one answer each; equal seeds, equal chats.

    Two answers in three are a call whose name and values are words of the request, under keys that
    are too; the rest repeat some of its words.
    """
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        said = draw.choices(words, k=draw.randint(4, 12))
        answer: dict[str, Any] = {"role": "assistant", "content": ""}
        if draw.random() < 2 / 3:
            name, *rest = draw.sample(said, k=min(len(said), draw.randint(3, 7)))
            arguments: dict[str, Any] = dict(zip(rest[::2], rest[1::2], strict=False))
            if draw.random() < 0.3:
                arguments[draw.choice(said)] = draw.choice([True, False, [draw.choice(said)]])
            call = {"name": name, "arguments": arguments}
            answer["tool_calls"] = [{"type": "function", "function": call}]
        else:
            answer["content"] = " ".join(said[: draw.randint(1, 5)])
        messages = [{"role": "user", "content": draw.choice([" ", "_", ", "]).join(said)}, answer]
        texts.append(str(tokenizer.apply_chat_template(messages, tokenize=False)).rstrip("\n"))
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [list(ids) for ids in encoded]

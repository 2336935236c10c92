"""A small model's schooling: what other agents are asked, and what they answer, in minutes.

It gives a model that runs offline what FunctionGemma brings along: the turns, the notation of
calls, the words of the trade, and to look for what matters in a request. Of the agent it is made
for it learns nothing: that one is left out.
"""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.agent_data import build_agent_data
from training.conversations import Conversation, tokenise_all
from training.examples import Example, Split
from training.finetune import FinetuneResult, finetune
from training.finetune_config import FinetuneConfig
from training.reporter import Guard, Reporter
from training.runbook import read_runbook
from training.shared_prefix import ConversationBatches, answer_loss
from training.tokenizer import padding_id
from training.tools_file import read_tools

PRETRAINING = FinetuneConfig(
    steps=400,
    learning_rate=1.5e-3,
    warmup_fraction=0.05,
    weight_decay=0.05,
    beta2=0.98,
    keep_best=False,
)
"""What makes the default small Gemma speak: a minute or two on two cores."""

MOST_CHATS = 16000
"""Longer schooling goes through the same chats again."""

CALLS = 0.5
"""Share of the chats that end in a call."""

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")


def school_folders(agents: Path, *, without: str) -> list[Path]:
    """Returns the folders of all agents but one, by name.

    Raises:
        ValueError: There is no other agent.
    """
    folders = sorted(path.parent for path in agents.glob("*/tools.yaml"))
    others = [folder for folder in folders if folder.name != without]
    if not others:
        raise ValueError(
            f"agents has no folder besides {without!r} to learn from; name a model of the hub"
        )
    return others


def school_examples(folders: Sequence[Path]) -> list[Example]:
    """Builds what the agents of `folders` are trained on: no phrasing of a test is among it."""
    examples: list[Example] = []
    for folder in folders:
        data = build_agent_data(
            read_runbook(folder / "RUNBOOK.md"),
            read_tools(folder / "tools.yaml"),
            agent=folder.name,
            unseen_fraction=0,
        )
        examples += data.splits[Split.TRAIN]
    return examples


def school_chats(
    examples: Sequence[Example], *, count: int, seed: int = 0
) -> list[Mapping[str, Any]]:
    """Returns conversations of one request and one answer each; equal seeds, equal chats.

    Up to a fifth of a request's words are replaced by others, so that no single one decides.

    Raises:
        ValueError: There is no example.
    """
    if not examples:
        raise ValueError("examples is empty; give those of at least one agent")
    draw = random.Random(seed)
    words = sorted({word for example in examples for word in _WORD.findall(example.request)})
    chats: list[Mapping[str, Any]] = []
    for example in draw.choices(examples, weights=_weights(examples), k=count):
        _, request, answer = example.messages()
        share = draw.uniform(0, 0.2)
        said = (
            draw.choice(words) if draw.random() < share else word
            for word in request["content"].split(" ")
        )
        chats.append({"messages": [{**request, "content": " ".join(said)}, answer]})
    return chats


def _weights(examples: Sequence[Example]) -> list[float]:
    """Weighs examples so that `CALLS` of what is drawn has a call, where there are both kinds."""
    num_calls = sum(bool(example.calls) for example in examples)
    if num_calls in (0, len(examples)):
        return [1.0] * len(examples)
    rest = len(examples) - num_calls
    return [CALLS / num_calls if example.calls else (1 - CALLS) / rest for example in examples]


def pretrain(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    config: FinetuneConfig = PRETRAINING,
    batch_size: int = 32,
    reporter: Reporter | None = None,
    guard: Guard | None = None,
) -> FinetuneResult:
    """Trains all parameters of `model`, in place, on chats of other agents.

    Args:
        model: A small model with random weights.
        tokenizer: Its tokenizer, with a chat template.
        examples: From `school_examples`.
        config: How to train; `seed` also decides the chats.
        batch_size: Chats of a step.
        reporter: Hears of every step.
        guard: May end it early.
    """
    count = min(config.total_steps(1, 1) * batch_size, MOST_CHATS)
    chats = school_chats(examples, count=count, seed=config.seed)
    batches = ConversationBatches(
        [_without_start(chat) for chat in tokenise_all(chats, tokenizer)],
        batch_size=batch_size,
        padding_id=padding_id(tokenizer),
        seed=config.seed,
        share=False,
    )
    return finetune(model, batches, answer_loss, config=config, reporter=reporter, guard=guard)


def _without_start(chat: Conversation) -> Conversation:
    """Drops the first token, which says that a text begins.

    In tuning an agent's tools stand before every request, so that the sliding layers do not see it.
    """
    answers = tuple((start - 1, end - 1) for start, end in chat.answers)
    return Conversation(ids=chat.ids[1:], answers=answers)

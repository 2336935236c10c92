"""A small model's schooling: deterministic, of other agents alone, and it learns."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.agent_base import AGENTS
from training.examples import Example, Split
from training.pretraining import (
    CALLS,
    PRETRAINING,
    pretrain,
    school_chats,
    school_examples,
    school_folders,
)
from training.tiny_models import function_tokenizer, small_gemma


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """What agent-sre's model goes to school with."""
    return school_examples(school_folders(AGENTS, without="agent-sre"))


def test_an_agent_is_not_in_its_own_school() -> None:
    """The base model must know nothing of the agent that it is tuned for."""
    names = [folder.name for folder in school_folders(AGENTS, without="agent-sre")]
    assert names == ["agent-auditor", "agent-bruno"]
    assert len(school_folders(AGENTS, without="agent-x")) == 3


def test_an_agent_alone_is_refused(tmp_path: Path) -> None:
    """There is nobody to learn from."""
    (tmp_path / "agent-x").mkdir()
    (tmp_path / "agent-x" / "tools.yaml").touch()
    with pytest.raises(ValueError, match="no folder besides 'agent-x'"):
        school_folders(tmp_path, without="agent-x")


def test_the_school_asks_no_question_of_a_test(examples: list[Example]) -> None:
    """A base model that had heard a test's phrasings would spoil the comparison."""
    assert {example.split for example in examples} == {Split.TRAIN}


def test_chats_depend_on_the_seed_alone(examples: list[Example]) -> None:
    """Equal seeds, equal chats; words of the request change, the answer never does."""
    chats = school_chats(examples, count=200)
    assert chats == school_chats(examples, count=200)
    assert chats != school_chats(examples, count=200, seed=1)
    requests = {example.request for example in examples}
    changed = [chat for chat in chats if chat["messages"][0]["content"] not in requests]
    assert 50 < len(changed) < 200
    answers = [example.messages()[-1] for example in examples]
    assert all(chat["messages"][-1] in answers for chat in chats)


def test_calls_are_learned_first_of_all(examples: list[Example]) -> None:
    """Most chats end in a call, although most examples do not; without calls there is none."""
    assert sum(bool(example.calls) for example in examples) < len(examples) / 2
    chats = school_chats(examples, count=400)
    calls = sum("tool_calls" in chat["messages"][-1] for chat in chats)
    assert calls == pytest.approx(CALLS * 400, abs=30)
    silent = [example for example in examples if not example.calls]
    assert len(school_chats(silent, count=5)) == 5


def test_no_examples_are_refused() -> None:
    """There is nothing to make chats of."""
    with pytest.raises(ValueError, match="examples is empty"):
        school_chats([], count=1)


def test_schooling_lowers_the_loss(examples: list[Example]) -> None:
    """A few steps already make the format likelier."""
    tokenizer = function_tokenizer([e.request for e in examples[:50]], vocab_size=320)
    model = small_gemma(tokenizer=tokenizer, width=32, layers=2, heads=2)
    config = replace(
        PRETRAINING,
        steps=20,
        warmup_fraction=0.2,
        learning_rate=1e-2,
        device="cpu",
        precision="fp32",
    )
    result = pretrain(model, tokenizer, examples, config=config, batch_size=8)
    assert result.history[-1].loss < 0.8 * result.history[0].loss

"""An agent is tuned, saved and loaded again: same answers, and a reload check that notices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.e2e.agents import write_agent
from training.agent_base import SmallBase, base_revision, make_small_gemma, num_parameters
from training.agent_config import AgentTraining, LoraSettings
from training.agent_data import prepare_agent_data
from training.agent_figures import failure_table, score_table
from training.agent_probe import reload_difference, write_probe
from training.agent_recipe import recipe
from training.agent_tuning import (
    TESTS,
    answer_tests,
    check_room,
    fit_examples,
    load_agent,
    load_base,
    save_agent,
    tune_agent,
    without_adapter,
)
from training.conversations import read_conversations
from training.examples import Split
from training.finetune_result import FinetuneResult

CONFIG = AgentTraining(
    agent_name="agent-x",
    learning_rate=5e-3,
    iters=3,
    eval_every=100,
    max_new_tokens=4,
    lora=LoraSettings(rank=4, alpha=8),
)
TINY = SmallBase(width=32, layers=2, pretraining_steps=1, vocab_size=400)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an agent, its data and a tiny base model."""
    room = tmp_path_factory.mktemp("room")
    folder = write_agent(room, "agent-x")
    prepare_agent_data(agent_folder=folder, out=room / "data", unseen_fraction=0)
    make_small_gemma(room / "data", room / "base", TINY)
    return room


@pytest.fixture(scope="module")
def tuned(room: Path) -> tuple[Any, Any, FinetuneResult]:
    """A model after three steps."""
    return tune_agent(
        CONFIG, room / "data", room / "base", identity={"a": "b"}, checkpoint_folder=room / "points"
    )


@pytest.fixture(scope="module")
def saved(room: Path, tuned: tuple[Any, Any, FinetuneResult]) -> Path:
    """The folder of the tuned agent, with its probe."""
    model, tokenizer, _ = tuned
    folder = save_agent(
        model, tokenizer, room / "agent", base=room / "base", name="small-gemma", revision="r"
    )
    records = read_conversations(room / "data" / f"{Split.TEST_KNOWN}.jsonl")[:2]
    write_probe(model, tokenizer, records, folder / "probe", max_new_tokens=4)
    return folder


def test_the_same_data_gives_the_same_small_model(room: Path, tmp_path: Path) -> None:
    """Weights agree bit for bit, and are counted from the files' headers alone."""
    again = make_small_gemma(room / "data", tmp_path / "again", TINY)
    first, second = (load_file(folder / "model.safetensors") for folder in (room / "base", again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    model, _ = load_base(again)
    assert num_parameters(again) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 100), ("width", 0), ("vocab_size", 256), ("layers", 0), ("pretraining_steps", 0)],
)
def test_a_small_base_of_no_sense_is_refused(field: str, value: int) -> None:
    """Before anything is built, by name and value."""
    with pytest.raises(ValueError, match=rf"small_base.{field} is {value}; give"):
        SmallBase(**{field: value})


def test_only_the_adapter_learns(room: Path, tuned: tuple[Any, Any, FinetuneResult]) -> None:
    """The base weights under the adapter stay, and its answers with them."""
    model, tokenizer, result = tuned
    assert (result.status, result.steps) == ("completed", 3)
    base, _ = load_base(room / "base")
    ids = torch.tensor([tokenizer("BrunoDown")["input_ids"]])
    with torch.inference_mode(), without_adapter(model):
        assert torch.equal(model(input_ids=ids).logits, base(input_ids=ids).logits)
        # outside of the context the adapter counts again
    with torch.inference_mode():
        assert not torch.equal(model(input_ids=ids).logits, base(input_ids=ids).logits)


def test_all_test_sets_are_answered(room: Path, tuned: tuple[Any, Any, FinetuneResult]) -> None:
    """Every example has one output, the gate's figures are there, and the pages show them."""
    model, tokenizer, _ = tuned
    tools = room / "agent-x" / "tools.yaml"
    answered = answer_tests(model, tokenizer, room / "data", tools, CONFIG)
    counts = {
        split: len((room / "data" / f"{split}.jsonl").read_text().splitlines()) for split in TESTS
    }
    assert {split: len(outputs) for split, outputs in answered.outputs.items()} == counts
    evaluation = answered.evaluation
    assert {"exact_call_accuracy", "false_call_rate"} <= evaluation.metrics().keys()
    page = score_table(evaluation, evaluation, reason="a < b", decision="keep back")
    assert "a &lt; b" in page
    assert "test_unseen" in page
    shown = failure_table(evaluation.failures, shown=1)
    assert shown.count("<tr>") == 2
    assert f"{len(evaluation.failures) - 1} more" in shown


def test_a_saved_agent_answers_as_before(saved: Path) -> None:
    """It brings its base model along, and names no place of this machine."""
    assert reload_difference(saved / "probe", saved) == (pytest.approx(0, abs=1e-5), 0)
    for name in ("adapter_config.json", "base.json"):
        assert str(saved.parent) not in (saved / name).read_text()


def test_a_changed_adapter_is_noticed(saved: Path) -> None:
    """The reload check finds other weights by their logits."""
    path = saved / "adapter_model.safetensors"
    before = path.read_bytes()
    save_file({name: value + 0.5 for name, value in load_file(path).items()}, path)
    difference, _ = reload_difference(saved / "probe", saved)
    path.write_bytes(before)
    assert difference > 1e-2


def test_what_is_no_agent_is_refused(tmp_path: Path) -> None:
    """A folder without a reference to its base model is named."""
    with pytest.raises(ValueError, match=r"has no base.json; name the folder of a tuned agent"):
        load_agent(tmp_path)


def test_long_examples_are_refused_before_training(room: Path) -> None:
    """By the agent's own rule, and where the model's context is too short."""
    model, tokenizer = load_base(room / "base")
    with pytest.raises(ValueError, match="max_length is 100; raise max_length"):
        fit_examples(room / "data", Split.TRAIN, tokenizer, replace(CONFIG, max_length=100))
    with pytest.raises(ValueError, match=r"max_length with max_new_tokens is 9000 tokens"):
        check_room(5000, model.config, replace(CONFIG, max_length=5000, max_new_tokens=4000))


def test_a_recipe_stands_for_what_decides_the_model() -> None:
    """Every setting counts, apart from the schedule; so do data and base model."""

    def made(config: AgentTraining = CONFIG, **given: str) -> str:
        parts = {"data_version": "g1", "base": "b", "revision": "r"} | given
        return recipe(config, **parts)

    assert made() == made(replace(CONFIG, schedule="0 3 * * 0"))
    others = {
        made(replace(CONFIG, iters=4)),
        made(replace(CONFIG, lora=LoraSettings(rank=2))),
        made(data_version="g2"),
        made(base="c"),
        made(revision="s"),
    }
    assert len(others | {made()}) == 6


def test_a_base_is_known_by_its_content(room: Path, tmp_path: Path) -> None:
    """A folder's revision follows its files; the small model's, what it is made from."""
    first = base_revision(str(room / "base"))
    assert first == base_revision(str(room / "base"))
    (tmp_path / "config.json").write_text("{}")
    assert base_revision(str(tmp_path)) != first
    assert base_revision("small-gemma", school="a") != base_revision("small-gemma", school="b")
    with pytest.raises(ValueError, match="has no safetensors file"):
        num_parameters(tmp_path)

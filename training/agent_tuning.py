"""Tuning and measuring an agent: from its data set and base model to an adapter and its scores.

A folder of a tuned agent holds the adapter, the tokenizer and `base.json`, which names the base
model; of a base that exists nowhere else it holds that too, under `base/`. To load one:

    from training.agent_tuning import load_agent
    model, tokenizer = load_agent(folder)
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.agent_base import SMALL_GEMMA
from training.agent_config import AgentTraining
from training.batches import Batches
from training.checkpoint import CheckpointConfig, Checkpoints
from training.conversations import (
    Conversation,
    ConversationReport,
    LongExamples,
    fit_conversations,
    read_conversations,
    render_prompt,
    tokenise_all,
)
from training.device import Placement, choose_placement
from training.distributed import Ranks
from training.examples import Split, read_examples
from training.finetune import finetune
from training.finetune_config import FinetuneConfig
from training.finetune_result import FinetuneResult
from training.generation import Answer, GenerationConfig, generate
from training.language_model import check_length, load_language_model
from training.lora import LoraConfig, add_adapter, load_adapter, save_adapter
from training.reporter import Guard, Reporter
from training.scoring import AgentEvaluation, evaluate_agent
from training.shared_prefix import AnswerBatch, ConversationBatches, answer_loss
from training.tiny_models import STOP_SEQUENCES
from training.tokenizer import check_fits, load_tokenizer, padding_id
from training.tools_file import read_tools

TESTS = (Split.TEST_KNOWN, Split.TEST_UNSEEN, Split.TEST_IRRELEVANT)
"""The test sets, in the order in which they are shown."""

ADAPTER_CONFIG = "adapter_config.json"
BASE_FILE = "base.json"
BASE_FOLDER = "base"
DECODED_TOGETHER = 32
"""Prompts that are answered side by side."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A model's answers to the test sets, and how they were scored."""

    evaluation: AgentEvaluation
    """Scores, failures and latencies."""

    outputs: Mapping[Split, Sequence[str]]
    """What it wrote, by test set."""


def load_base(folder: Path) -> tuple[Any, Any]:
    """Loads a base model with its tokenizer.

    Raises:
        ValueError: They do not fit each other, or there is no chat template.
    """
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template:
        raise ValueError(
            f"model {folder.name!r} has no chat template; use one that was tuned for chats"
        )
    model = load_language_model(folder)
    check_fits(tokenizer, model.config, name=folder.name)
    return model, tokenizer


def fit_examples(
    data: Path, split: Split, tokenizer: Any, config: AgentTraining
) -> tuple[list[Conversation], ConversationReport]:
    """Tokenises a split and applies the rule for long examples.

    Raises:
        ValueError: An example is too long and may not be cut.
    """
    records = read_conversations(data / f"{split}.jsonl")
    long: LongExamples = "truncate" if config.long_examples == "truncate" else "refuse"
    return fit_conversations(
        tokenise_all(records, tokenizer), max_length=config.max_length, long=long
    )


def check_room(longest: int, model_config: Any, config: AgentTraining) -> None:
    """Checks that the longest example and an answer fit the model's context.

    Raises:
        ValueError: They do not.
    """
    needed = min(longest, config.max_length) + config.max_new_tokens
    check_length(needed, model_config, name="max_length with max_new_tokens")


def finetune_config(config: AgentTraining) -> FinetuneConfig:
    """Gives the loop's settings for an agent's.

    >>> finetune_config(AgentTraining(agent_name="agent-sre", iters=40)).steps
    40
    """
    return FinetuneConfig(
        steps=config.iters,
        learning_rate=config.learning_rate,
        warmup_fraction=config.warmup_share,
        weight_decay=config.weight_decay,
        accumulation=config.accumulation,
        clip_norm=config.clip_norm,
        evaluate_every=config.eval_every,
        patience=config.patience,
        # A call is right or wrong: surer of its mistakes, a model may have a higher loss and more
        # calls right.
        best_by="token_accuracy",
        seed=config.seed,
    )


def tune_agent(
    config: AgentTraining,
    data: Path,
    base: Path,
    *,
    identity: Mapping[str, str],
    checkpoint_folder: Path,
    checkpoint_config: CheckpointConfig = CheckpointConfig(),  # noqa: B008 - frozen
    resume_from: Sequence[Path] = (),
    on_checkpoint: Callable[[Path], None] | None = None,
    reporter: Reporter | None = None,
    guard: Guard | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> tuple[Any, Any, FinetuneResult]:
    """Adds an adapter to the base model and tunes it on the agent's examples.

    Args:
        config: The agent's settings.
        data: Its data set.
        base: Folder of the base model.
        identity: What a checkpoint must have been made from to be resumed.
        checkpoint_folder: Where checkpoints are kept.
        checkpoint_config: When they are written.
        resume_from: Further places to look for one.
        on_checkpoint: Is given each new one.
        reporter: Hears of every step.
        guard: May end the run before any step.
        ranks: This process among the others.

    Returns:
        The model with its adapter, the tokenizer, and how the run ended.
    """
    model, tokenizer = load_base(base)
    adapter = LoraConfig(
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        dropout=config.lora.dropout,
        target_modules=config.lora.targets,
    )
    model = add_adapter(model, adapter, seed=config.seed)

    def batches(split: Split, *, shuffle: bool) -> Batches[AnswerBatch]:
        examples, _ = fit_examples(data, split, tokenizer, config)
        return ConversationBatches(
            examples,
            batch_size=config.batch_size,
            padding_id=padding_id(tokenizer),
            seed=config.seed,
            shuffle=shuffle,
        )

    result = finetune(
        model,
        batches(Split.TRAIN, shuffle=True),
        answer_loss,
        config=finetune_config(config),
        validation=batches(Split.VALID, shuffle=False),
        checkpoints=Checkpoints(
            checkpoint_folder,
            identity=identity,
            config=checkpoint_config,
            on_saved=on_checkpoint,
        ),
        resume_from=resume_from,
        reporter=reporter,
        guard=guard,
        ranks=ranks,
    )
    return model, tokenizer, result


def save_agent(
    model: Any, tokenizer: Any, folder: Path, *, base: Path, name: str, revision: str
) -> Path:
    """Writes adapter, tokenizer and the reference to the base model; see the module's docstring."""
    save_adapter(model, folder)
    # Named afterwards: while it saves, peft reads the base model's config where this points.
    described = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    described["base_model_name_or_path"] = name
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # peft's form, not filled in
    tokenizer.save_pretrained(folder)
    reference = {"name": name, "revision": revision}
    (folder / BASE_FILE).write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")
    if name == SMALL_GEMMA:
        shutil.copytree(base, folder / BASE_FOLDER)
    return folder


def load_agent(folder: Path, base: Path | None = None) -> tuple[Any, Any]:
    """Loads a tuned agent: the model with its adapter, and the tokenizer.

    Args:
        folder: A folder of `save_agent`.
        base: The base model's folder; without it, the one in `folder` or the one it names.

    Raises:
        ValueError: The folder is no tuned agent, or its base model cannot be had.
    """
    path = folder / BASE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {BASE_FILE}; name the folder of a tuned agent")
    own = folder / BASE_FOLDER
    name = json.loads(path.read_text(encoding="utf-8"))["name"]
    source = base or (own if own.is_dir() else name)
    return load_adapter(load_language_model(source), folder), load_tokenizer(folder)


def answer_tests(
    model: Any,
    tokenizer: Any,
    data: Path,
    tools: Path,
    config: AgentTraining,
    *,
    placement: Placement | None = None,
) -> Answered:
    """Decodes all test sets greedily and scores the calls.

    Args:
        model: With or without its adapter.
        tokenizer: Its tokenizer.
        data: The agent's data set.
        tools: Its `tools.yaml`.
        config: Its settings: how long an answer may be.
        placement: Where to compute; by default wherever it is fastest.
    """
    placement = placement or choose_placement()
    model.to(placement.device)
    examples = {split: read_examples(data / f"{split}.jsonl") for split in TESTS}
    prompts = [
        render_prompt(record, tokenizer)
        for split in TESTS
        for record in (read_conversations(data / f"{split}.jsonl") if examples[split] else ())
    ]
    answers = answer(model, tokenizer, prompts, config, placement=placement)
    outputs: dict[Split, list[str]] = {}
    start = 0
    for split in TESTS:
        outputs[split] = [a.text for a in answers[start : start + len(examples[split])]]
        start += len(examples[split])
    evaluation = evaluate_agent(
        examples, outputs, read_tools(tools), latencies_seconds=[a.seconds for a in answers]
    )
    return Answered(evaluation=evaluation, outputs=outputs)


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    config: AgentTraining,
    *,
    placement: Placement,
) -> list[Answer]:
    """Answers prompts greedily, up to the end of a turn."""
    return generate(
        model,
        tokenizer,
        prompts,
        config=GenerationConfig(
            max_new_tokens=config.max_new_tokens,
            stop=STOP_SEQUENCES,
            batch_size=DECODED_TOGETHER,
        ),
        placement=placement,
    )


def without_adapter(model: Any) -> Any:
    """Gives a context in which the model answers as its base does."""
    return model.disable_adapter()


def as_status(result: FinetuneResult) -> str:
    """Says `stopped` where a guard ended the run, else `completed`, which early stopping is too."""
    return "stopped" if result.status == "stopped" else "completed"


def summary_of(result: FinetuneResult) -> dict[str, Any]:
    """The run's own account as plain JSON."""
    return asdict(replace(result, step_seconds=()))

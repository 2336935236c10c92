"""The body of every language-model training task, in one process and on every rank of many."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flytekit import Deck
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

from accounting.figures import Point, scatter
from tasks.execution import working_folder
from tasks.hub import hub_token
from tasks.machines import Machine
from tasks.records import PreparedText, Run, Trained
from tasks.session import training_session
from training.checkpoint import Checkpoints
from training.device import choose_placement
from training.finetune import FinetuneResult, finetune
from training.language_config import SMALL_GPT2, LanguageConfig
from training.language_model import (
    check_length,
    choose_attention,
    choose_loss,
    load_language_model,
)
from training.lora import LoraConfig, add_adapter, merge_adapter
from training.text_data import PackedText, TextBatches
from training.tiny_models import small_gpt2
from training.tokenizer import check_fits, load_tokenizer

RESULT_FILE = "result.json"


def base_model(text: PreparedText, folder: Path, *, seed: int) -> Any:
    """Loads or builds the base model, and checks that text and tokenizer fit it.

    Args:
        text: The packed text.
        folder: Its folder, downloaded.
        seed: Decides the weights of a model that is built here.

    Raises:
        ValueError: they do not, or the hub does not give the model.
    """
    tokenizer = load_tokenizer(folder / "tokenizer")
    if text.base_model == SMALL_GPT2:
        return small_gpt2(
            vocab_size=len(tokenizer),
            context=text.block_size,
            end_id=tokenizer.eos_token_id,
            seed=seed,
        )
    model = load_language_model(text.base_model, token=hub_token())
    check_fits(tokenizer, model.config, name=text.base_model)
    check_length(text.block_size, model.config, name="block_size")
    return model


def train(
    run: Run,
    text: PreparedText,
    config: LanguageConfig,
    *,
    machine: Machine,
    processes: int = 1,
) -> Trained:
    """Tunes a language model as one rank among `processes`; rank 0's answer counts."""
    folder = Path(text.folder.download())
    model = base_model(text, folder, seed=config.finetune.seed)
    if config.lora_rank:
        lora = LoraConfig(rank=config.lora_rank, target_modules=config.lora_targets)
        model = add_adapter(model, lora, seed=config.finetune.seed)
    placement = choose_placement(device=config.finetune.device, precision=config.finetune.precision)
    choose_attention(model, placement=placement, num_tokens=text.block_size)
    identity = {
        "kind": "language-model",
        "data": text.digest,
        "base_model": text.base_model,
        "config": json.dumps(asdict(config), sort_keys=True),
    }
    out = working_folder("model")
    with training_session(run, machine=machine, processes=processes) as session:
        result = finetune(
            model,
            TextBatches(
                PackedText(folder, "train"),
                batch_size=config.batch_size,
                seed=config.finetune.seed,
            ),
            choose_loss(model),
            config=config.finetune,
            validation=TextBatches(
                PackedText(folder, "validation"), batch_size=config.batch_size, shuffle=False
            ),
            checkpoints=Checkpoints(
                session.checkpoint_folder,
                identity=identity,
                config=session.checkpoint_config,
                on_saved=session.on_checkpoint,
            ),
            resume_from=session.resume_from,
            reporter=session.reporter,
            guard=session.guard,
            ranks=session.ranks,
        )
        session.ended(result.status)
    if session.ranks.is_main:
        merged = merge_adapter(model) if config.lora_rank else model
        merged.cpu().save_pretrained(out, safe_serialization=True)
        load_tokenizer(folder / "tokenizer").save_pretrained(out)
        (out / RESULT_FILE).write_text(json.dumps(asdict(result), indent=2), encoding="utf-8")
        Deck("Training", loss_chart(result))
    is_stopped = result.status == "stopped" and session.last_checkpoint is not None
    return Trained(
        folder=FlyteDirectory(str(out)),
        status="stopped" if result.status == "stopped" else "completed",
        stop_reason=result.stop_reason if result.status == "stopped" else None,
        checkpoint=FlyteFile(str(session.last_checkpoint)) if is_stopped else None,
    )


def loss_chart(result: FinetuneResult) -> str:
    """Draws the training loss, and the validation loss as squares."""
    points = [
        Point(x=p.step, y=p.loss, title=f"step {p.step}: {p.loss:.4f}") for p in result.history
    ]
    points += [
        Point(x=e.step, y=e.loss, title=f"step {e.step}: {e.loss:.4f} held out", kind="second")
        for e in result.evaluations
    ]
    if not points:
        return "<p>The run stopped before its first report.</p>"
    return scatter(points, x_name="step", y_name="loss, nats", legend=("training", "validation"))

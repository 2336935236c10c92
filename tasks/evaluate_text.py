"""Evaluation of a language model on held-out text, before and after its tuning."""

import json
import shutil
from html import escape
from pathlib import Path

from flytekit import Deck, task
from flytekit.types.directory import FlyteDirectory

from tasks.execution import working_folder
from tasks.hub import HUB_SECRET
from tasks.machines import GPU
from tasks.records import Evaluated, PreparedText, Run, Trained
from training.language_config import LanguageConfig

PROBE_TOKENS = 32
"""Tokens whose logits travel with the model: what a reload must give again."""


@task(enable_deck=True, secret_requests=[HUB_SECRET], **GPU.options())
def evaluate_language_model(
    run: Run, text: PreparedText, trained: Trained, config: LanguageConfig, min_improvement: float
) -> Evaluated:
    """Measures the perplexity before and after, writes samples, decides by the gate, and packs.

    Args:
        run: The run.
        text: Its data; the test split was neither trained nor selected on.
        trained: What training left.
        config: How it was trained.
        min_improvement: The factor by which the perplexity must have fallen.
    """
    import torch
    from safetensors.torch import save_file

    from stores.registry import champion
    from stores.settings import Settings
    from tasks.language_training import base_model
    from training.device import choose_placement
    from training.finetune import evaluate
    from training.generation import GenerationConfig, generate, sampler
    from training.language_gate import decide
    from training.language_model import choose_loss, load_language_model
    from training.text_data import PackedText, TextBatches
    from training.tokenizer import load_tokenizer

    data = Path(text.folder.download())
    folder = Path(trained.folder.download())
    placement = choose_placement(device=config.finetune.device, precision="fp32")
    held_out = TextBatches(PackedText(data, "test"), batch_size=config.batch_size, shuffle=False)
    tuned = load_language_model(folder).to(placement.device)
    base = base_model(text, data, seed=config.finetune.seed).to(placement.device)
    before = evaluate(base, held_out, choose_loss(base), placement=placement)
    after = evaluate(tuned, held_out, choose_loss(tuned), placement=placement)

    rival = champion(Settings.from_environment(), run.model_name)
    same_data = rival is not None and rival.tags.get("oppen.dataset") == text.digest
    decision = decide(
        before=before.perplexity,
        after=after.perplexity,
        min_improvement=min_improvement,
        champion=rival.metrics.get("perplexity") if rival and same_data else None,
    )

    tokenizer = load_tokenizer(folder)
    answers = generate(
        tuned,
        tokenizer,
        [tokenizer(prompt)["input_ids"] for prompt in config.sample_prompts],
        config=GenerationConfig(max_new_tokens=min(60, text.block_size // 2)),
        placement=placement,
        choose=sampler(seed=config.finetune.seed),
    )
    samples = "".join(
        f"<p><b>{escape(prompt)}</b>{escape(answer.text)}</p>"
        for prompt, answer in zip(config.sample_prompts, answers, strict=True)
    )
    table = (
        f"<table><tr><th></th><th>perplexity</th><th>token accuracy</th></tr>"
        f"<tr><td>before</td><td>{before.perplexity:,.2f}</td><td>{before.token_accuracy:.2%}</td>"
        f"</tr><tr><td>after</td><td>{after.perplexity:,.2f}</td><td>{after.token_accuracy:.2%}"
        f"</td></tr></table><p>{escape(decision.reason)}</p>"
    )
    Deck("Perplexity", table)
    Deck("Samples", samples)

    report = working_folder("report")
    metrics = {
        "perplexity": after.perplexity,
        "perplexity_before": before.perplexity,
        "perplexity_ratio": before.perplexity / after.perplexity,
        "token_accuracy": after.token_accuracy,
    }
    (report / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (report / "perplexity.html").write_text(table, encoding="utf-8")
    (report / "samples.html").write_text(samples, encoding="utf-8")

    package = working_folder("package")
    shutil.copytree(folder, package / "model", dirs_exist_ok=True)
    tokens = PackedText(data, "test").batch([0]).ids[:, :PROBE_TOKENS].contiguous()  # (1, 32)
    with torch.inference_mode():
        logits = tuned.cpu()(input_ids=tokens).logits  # (1, 32, V)
    save_file({"tokens": tokens, "logits": logits.contiguous()}, package / "probe.safetensors")
    tags = {
        "oppen.dataset": text.digest,
        "oppen.kind": "language-model",
        "oppen.base_model": text.base_model,
    }
    (package / "tags.json").write_text(json.dumps(tags), encoding="utf-8")
    completed = trained.status == "completed"
    return Evaluated(
        package=FlyteDirectory(str(package)),
        report=FlyteDirectory(str(report)),
        quality=after.perplexity,
        promote=decision.promote and completed,
        reason=decision.reason
        if completed
        else f"stopped by its {trained.stop_reason}; {decision.reason}",
    )

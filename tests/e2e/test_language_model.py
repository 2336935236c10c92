"""A language model, from text files to a registered, stored, reloaded version."""

from pathlib import Path

import pytest

from stores.artifacts import fetch_version, verify_version
from stores.registry import champion
from stores.settings import Settings
from stores.tracking import read_run
from tasks.records import Outcome
from training.finetune_config import FinetuneConfig
from training.language_config import LanguageConfig
from workflows.language_model import language_model_pipeline

TOPICS = ("loops", "classes", "numbers", "strings", "modules", "errors", "files", "names")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short documents with a structure that a small model learns at once."""
    folder = tmp_path_factory.mktemp("text")
    for number, topic in enumerate(TOPICS * 3):
        lines = [f"{topic} have rule {line} and rule {line + number}." for line in range(60)]
        (folder / f"{topic}-{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcome(here: pytest.MonkeyPatch, settings: Settings, text: Path) -> Outcome:
    """One small run of the whole pipeline."""
    del here, settings
    ended: Outcome = language_model_pipeline(
        source=str(text),
        base_model="small-gpt2",
        block_size=32,
        vocab_size=320,
        config=LanguageConfig(
            batch_size=16,
            finetune=FinetuneConfig(steps=12, learning_rate=5e-3, evaluate_every=6),
            sample_prompts=("loops",),
        ),
        model_name="topics",
        min_improvement=2.0,
        experiment="text-e2e",
    )
    return ended


@pytest.mark.slow
def test_the_tuned_model_is_registered_stored_and_promoted(
    outcome: Outcome, settings: Settings
) -> None:
    """Perplexity falls, the version is champion, and S3 holds exactly what its manifest says."""
    summary = outcome.summary
    version = champion(settings, "topics")
    assert summary.status == "completed"
    assert version is not None
    assert summary.model == f"topics/{version.version}"
    assert version.metrics["perplexity"] * 2 < version.metrics["perplexity_before"]
    assert version.metrics["perplexity"] == pytest.approx(summary.quality)
    assert version.tags["oppen.base_model"] == "small-gpt2"
    assert verify_version(settings, summary.stored).num_files >= 5


@pytest.mark.slow
def test_the_run_keeps_its_history_and_its_bill(outcome: Outcome, settings: Settings) -> None:
    """Loss, perplexity, speed and cost are in the one run of the execution."""
    version = champion(settings, "topics")
    assert version is not None
    run = read_run(settings, version.run_id)
    assert run.status == "FINISHED"
    assert run.metrics["total_cost_usd"] == pytest.approx(float(outcome.summary.total_cost_usd))
    assert run.metrics["train/tokens_per_second"] > 0
    assert run.params["finetune.steps"] == "12"
    assert run.metrics["reload_difference"] <= 1e-4


@pytest.mark.slow
def test_the_stored_model_loads_by_its_own_library(
    outcome: Outcome,
    settings: Settings,
    tmp_path: Path,
) -> None:
    """A few documented lines give the model back from S3 and let it write."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fetch_version(settings, outcome.summary.stored, tmp_path / "version")
    folder = tmp_path / "version" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("loops have", return_tensors="pt")["input_ids"]
    written = tokenizer.decode(model.generate(ids, max_new_tokens=4, do_sample=False)[0])
    assert written.startswith("loops have")
    assert len(written) > len("loops have")

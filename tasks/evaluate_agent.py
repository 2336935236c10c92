"""Evaluation of an agent: tuned beside base, on test sets that training never saw."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flytekit import Deck, task
from flytekit.types.directory import FlyteDirectory

from stores import registry
from stores.settings import Settings
from tasks.agent_data import DATA_FOLDER, TOOLS_FILE
from tasks.agent_records import AgentBase, PreparedAgent
from tasks.execution import working_folder
from tasks.machines import GPU
from tasks.records import Evaluated, Run, Trained
from tasks.software import software_versions
from training.agent_config import AgentTraining

PROBE_FOLDER = "probe"
PROBE_PROMPTS = 6
"""Prompts whose answers travel with the model: what a reload must say again."""
RECIPE_TAG = "oppen.recipe"
DATASET_FILE = "dataset.json"


@task(enable_deck=True, **GPU.options())
def evaluate_agent(
    run: Run, data: PreparedAgent, base: AgentBase, trained: Trained, config: AgentTraining
) -> Evaluated:
    """Decodes the test sets with and without the adapter, decides by the gate, and packs.

    The champion's recorded scores count where its test sets are these; else it is asked anew.
    """
    from training.agent_figures import failure_table, score_table
    from training.agent_gate import decide
    from training.agent_probe import write_probe
    from training.agent_recipe import recipe
    from training.agent_tuning import TESTS, answer_tests, load_agent, without_adapter
    from training.conversations import read_conversations

    folder = Path(data.folder.download())
    examples, tools = folder / DATA_FOLDER, folder / TOOLS_FILE
    adapter = Path(trained.folder.download())
    model, tokenizer = load_agent(adapter, Path(base.folder.download()))
    tuned = answer_tests(model, tokenizer, examples, tools, config).evaluation
    with without_adapter(model):
        before = answer_tests(model, tokenizer, examples, tools, config).evaluation

    metrics = tuned.metrics()
    decision = decide(
        metrics,
        exact_call_accuracy=config.thresholds.exact_call_accuracy,
        false_call_rate=config.thresholds.false_call_rate,
        champion=champion_metrics(run.model_name, data, config),
    )
    completed = trained.status == "completed"
    reason = "; ".join(decision.reasons)
    if not completed:
        reason = f"stopped by its {trained.stop_reason}; {reason}"

    report = working_folder("report")
    pages = {
        "scores": score_table(
            before, tuned, reason=reason, decision="promote" if decision.promote else "keep back"
        ),
        "failures": failure_table(tuned.failures),
    }
    for name, html in pages.items():
        (report / f"{name}.html").write_text(html, encoding="utf-8")
        Deck(name.capitalize(), html)
    lines = [json.dumps(asdict(failure), ensure_ascii=False) for failure in tuned.failures]
    (report / "failures.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    metrics |= {f"base/{name}": value for name, value in before.metrics().items()}
    metrics |= loop_metrics(adapter)
    (report / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")

    package = working_folder("package")
    shutil.copytree(adapter, package / "model", dirs_exist_ok=True)
    shutil.copyfile(examples / "manifest.json", package / "model" / DATASET_FILE)
    shutil.copyfile(report / "metrics.json", package / "model" / "metrics.json")
    records = [
        record
        for split in TESTS
        if (examples / f"{split}.jsonl").stat().st_size
        for record in read_conversations(examples / f"{split}.jsonl")[: PROBE_PROMPTS // len(TESTS)]
    ]
    write_probe(
        model,
        tokenizer,
        records,
        package / "model" / PROBE_FOLDER,
        max_new_tokens=config.max_new_tokens,
    )
    tags = {
        "oppen.dataset": data.version,
        "oppen.kind": "agent",
        "oppen.base_model": base.name,
        "oppen.base_revision": base.revision,
        RECIPE_TAG: recipe(
            config, data_version=data.version, base=base.name, revision=base.revision
        ),
        **software_versions("torch", "transformers", "peft"),
    }
    (package / "tags.json").write_text(json.dumps(tags), encoding="utf-8")
    return Evaluated(
        package=FlyteDirectory(str(package)),
        report=FlyteDirectory(str(report)),
        quality=tuned.exact_call_accuracy,
        promote=decision.promote and completed,
        reason=reason,
    )


def champion_metrics(
    name: str, data: PreparedAgent, config: AgentTraining
) -> Mapping[str, float] | None:
    """What the champion scores on the present test sets, or None where there is no champion."""
    rival = registry.champion(Settings.from_environment(), name)
    if rival is None:
        return None
    if rival.tags.get("oppen.dataset") == data.version:
        return rival.metrics
    return measure_champion(name, rival.version, data, config)


def measure_champion(
    name: str, version: str, data: PreparedAgent, config: AgentTraining
) -> dict[str, float]:
    """Loads a registered version and asks it the present test sets."""
    from training.agent_tuning import answer_tests, load_agent

    folder = Path(data.folder.download())
    with tempfile.TemporaryDirectory() as temporary:
        fetched = registry.fetch_model(
            Settings.from_environment(), name, version, Path(temporary) / "champion"
        )
        model, tokenizer = load_agent(fetched)
        measured = answer_tests(model, tokenizer, folder / DATA_FOLDER, folder / TOOLS_FILE, config)
    return measured.evaluation.metrics()


def loop_metrics(folder: Path) -> dict[str, float]:
    """The loop's speed and its lowest validation loss, for the run's final metrics."""
    from statistics import median

    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    metrics = {"steps": float(result["steps"]), "tokens": float(result["tokens"])}
    if result["history"]:
        metrics["tokens_per_second"] = median(p["tokens_per_second"] for p in result["history"])
    if result["evaluations"]:
        metrics["validation_loss"] = min(e["loss"] for e in result["evaluations"])
    return metrics

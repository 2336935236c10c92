"""Whether an agent needs training: what changed since its champion, and how good that one is."""

import json
import tempfile
from html import escape
from pathlib import Path
from typing import NamedTuple

from flytekit import Deck, task

from stores import registry
from stores.settings import Settings
from tasks.agent_data import DATA_FOLDER
from tasks.agent_records import BaseSource, PreparedAgent
from tasks.evaluate_agent import DATASET_FILE, RECIPE_TAG, measure_champion
from tasks.machines import GPU, LIGHT
from training.agent_config import AgentTraining


class Need(NamedTuple):
    """Whether to train, and why or why not."""

    is_needed: bool
    reason: str


@task(**LIGHT.options())
def compare_with_champion(
    data: PreparedAgent, base: BaseSource, config: AgentTraining, force: bool
) -> Need:
    """Trains only what would become another model than the champion."""
    from training.agent_recipe import recipe

    if force:
        return Need(is_needed=True, reason="it is forced")
    found = registry.champion(Settings.from_environment(), data.agent)
    if found is None:
        return Need(is_needed=True, reason="there is no champion")
    same = recipe(config, data_version=data.version, base=base.name, revision=base.revision)
    if found.tags.get(RECIPE_TAG) != same:
        return Need(is_needed=True, reason="data, base model or settings changed")
    return Need(
        is_needed=False,
        reason=(
            f"nothing changed: {data.agent}/{found.version} was made from data set "
            f"{data.version}, the same base model and the same settings"
        ),
    )


@task(enable_deck=True, **GPU.options())
def check_model_performance(
    data: PreparedAgent, config: AgentTraining, force_retrain: bool
) -> Need:
    """Measures the champion on the present test sets and compares its data with the present.

    Says that training is needed where there is no champion, where alerts or tools differ from
    those it was trained on, or where it misses a threshold.
    """
    settings = Settings.from_environment()
    found = registry.champion(settings, data.agent)
    if found is None:
        return Need(is_needed=True, reason="there is no champion")
    drift = drift_since(data, found.version)
    fresh = measure_champion(data.agent, found.version, data, config)
    reasons = [*drift, *shortfalls(fresh, config)]
    Deck("Champion", champion_table(dict(found.metrics), fresh, reasons))
    if force_retrain:
        reasons.insert(0, "it is forced")
    if reasons:
        return Need(is_needed=True, reason="; ".join(reasons))
    return Need(
        is_needed=False,
        reason=(
            f"{data.agent}/{found.version} makes {fresh['exact_call_accuracy']:.1%} exact calls "
            f"and nothing differs from data set {data.version}"
        ),
    )


@task(**LIGHT.options())
def no_need(reason: str) -> Need:
    """Says that nothing is to be trained now, whatever the champion does."""
    return Need(is_needed=False, reason=reason)


def drift_since(data: PreparedAgent, version: str) -> list[str]:
    """What differs between the present data set and the one that a version was trained on."""
    from training.agent_data_files import DataManifest, read_manifest
    from training.drift import compare_data_sets

    now = read_manifest(Path(data.folder.download()) / DATA_FOLDER)
    with tempfile.TemporaryDirectory() as temporary:
        folder = registry.fetch_model(
            Settings.from_environment(), data.agent, version, Path(temporary) / "champion"
        )
        text = (folder / DATASET_FILE).read_text(encoding="utf-8")
    drift = compare_data_sets(now, DataManifest.from_record(json.loads(text)))
    return [drift.summary()] if drift.drifted else []


def shortfalls(metrics: dict[str, float], config: AgentTraining) -> list[str]:
    """Which thresholds the metrics miss."""
    from training.agent_gate import decide

    decision = decide(
        metrics,
        exact_call_accuracy=config.thresholds.exact_call_accuracy,
        false_call_rate=config.thresholds.false_call_rate,
    )
    return [] if decision.promote else list(decision.reasons)


def champion_table(recorded: dict[str, float], fresh: dict[str, float], reasons: list[str]) -> str:
    """Draws the champion's recorded scores beside those of today."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{recorded.get(name, float('nan')):.4g}</td>"
        f"<td>{value:.4g}</td></tr>"
        for name, value in sorted(fresh.items())
    )
    why = "; ".join(reasons) or "no training is needed"
    return (
        f"<p>{escape(why)}</p><table><tr><th></th><th>recorded</th><th>now</th></tr>{rows}</table>"
    )

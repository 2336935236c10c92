"""The gate of the agents' pipeline."""

import hashlib
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import NamedTuple

from flytekit import task

from accounting.speed import Work
from stores import tracking
from stores.artifacts import list_versions
from stores.model_version import version_name
from stores.settings import Settings
from tasks.agent_records import AgentBase, FittedExamples, PreparedAgent
from tasks.machines import GPU, LIGHT
from tasks.opening import Planned, open_run
from tasks.records import Run, Terms
from tasks.retrying import retried_by_flyte
from training.agent_config import AgentTraining

STARTUP_SECONDS = 15.0
"""Imports, the model and the first measurement before the first step."""

RELEASE_TAG = "oppen.release"


class OpenedRun(NamedTuple):
    """A run, and where its model is to lie in S3."""

    run: Run
    prefix: str


@task(enable_deck=True, **LIGHT.options())
def open_agent_run(
    data: PreparedAgent,
    base: AgentBase,
    fitted: FittedExamples,
    config: AgentTraining,
    experiment: str,
    terms: Terms,
) -> OpenedRun:
    """Prices the planned training and stops here if it does not fit; opens the MLflow run.

    LoRA costs about 4 FLOP per weight and token: forward, and backward through the activations.
    """
    examples = config.iters * config.batch_size * config.accumulation
    nested = {"lora": asdict(config.lora), "thresholds": asdict(config.thresholds)}
    settings = {key: value for key, value in asdict(config).items() if key not in nested}
    for name, values in nested.items():
        settings |= {f"{name}.{key}": value for key, value in values.items()}
    run = open_run(
        Planned(
            kind=f"{base.name}/lora-{config.lora.rank}/batch-{config.batch_size}",
            work=Work(
                items=examples * fitted.num_tokens // data.num_train,
                flop_per_item=4.0 * base.num_parameters,
                unit="tokens",
                startup_seconds=STARTUP_SECONDS,
            ),
            speed_metric="tokens_per_second",
            machine=GPU,
        ),
        terms,
        model_name=data.agent,
        experiment=experiment,
        tags={
            "oppen.dataset": data.version,
            "oppen.kind": "agent",
            "oppen.base_model": base.name,
            "oppen.base_revision": base.revision,
        },
        params={**settings, "num_train": data.num_train, **asdict(fitted)},
    )
    with retried_by_flyte():
        return OpenedRun(run=run, prefix=release_prefix(run, base.name, datetime.now(UTC)))


def release_prefix(run: Run, base: str, now: datetime) -> str:
    """Names the version that this execution makes, `<agent>/<model>/<version>`.

    A retry gets the same answer. Another execution of the same commit and day gets four digits of
    its own, so that no version that was stored is ever replaced.
    """
    settings = Settings.from_environment()
    known = tracking.read_run(settings, run.tracking_run).tags.get(RELEASE_TAG)
    if known:
        return known
    folder = model_folder(run.model_name, base)
    name = version_name(run.model_name, now.date(), hex_commit(run.commit))
    if name in list_versions(settings, folder):
        name += hashlib.sha256(run.execution.encode()).hexdigest()[:4]
    tracking.log_final(settings, run.tracking_run, tags={RELEASE_TAG: f"{folder}/{name}"})
    return f"{folder}/{name}"


def model_folder(agent: str, base: str) -> str:
    """Where the versions of an agent tuned from `base` lie: `<agent>/<model>`.

    >>> model_folder("agent-sre", "google/functiongemma-270m-it")
    'agent-sre/functiongemma-270m-it'
    """
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", base.rstrip("/").rpartition("/")[2]).strip("-.")
    return f"{agent}/{short or 'model'}"


def hex_commit(commit: str) -> str:
    """The commit as git writes it; a version that is no hash is hashed.

    >>> hex_commit("0123456789abcdef")
    '0123456789abcdef'
    >>> hex_commit("release-7")[:8]
    'f55ebad9'
    """
    if re.fullmatch(r"[0-9a-f]{8,64}", commit):
        return commit
    return hashlib.sha256(commit.encode()).hexdigest()

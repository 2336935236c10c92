"""Opening of a run: who is running, on what terms, for how much; the same for every pipeline."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from flytekit import Deck
from flytekit.types.file import FlyteFile

from accounting.bill import bill
from accounting.budget import Verdict, assess, gate
from accounting.quantities import instant
from accounting.rates import RateCard
from accounting.speed import Work, expected_time
from stores.settings import Settings
from tasks.attempt import attempts_of, held_resources, host_kind
from tasks.execution import Execution, current_execution, working_folder
from tasks.machines import Machine
from tasks.records import Run, Terms
from tasks.software import software_versions

if TYPE_CHECKING:
    from stores.tracking import TrackedRun

PURCHASES = ("on-demand", "spot")
OVER_BUDGET = ("refuse", "train")
MEASURED_RUNS = 5
"""Runs like this one whose median speed is believed."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a pipeline is about to do."""

    kind: str
    """What is trained, on what: runs of the same kind on the same machine are equally fast."""

    work: Work
    """How much of it."""

    speed_metric: str
    """The MLflow metric that holds the measured items per second."""

    machine: Machine
    """What trains."""

    nodes: int = 1
    """Pods."""

    processes: int = 1
    """Processes in each pod."""


def open_run(
    planned: Planned,
    terms: Terms,
    *,
    model_name: str,
    experiment: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
) -> Run:
    """Checks the terms, prices the plan, and opens the one MLflow run of this execution.

    Raises:
        ValueError: a term is not what it should be.
        BudgetExceeded, DeadlineExceeded: the plan does not fit; nothing was opened.
    """
    from stores import tracking

    execution = current_execution()
    settings = Settings.from_environment()
    card = RateCard.load(settings.rates_path)
    deadline = check_terms(terms, card)

    spent, checkpoint = Decimal(0), None
    if terms.resume_from:
        spent, checkpoint = stopped_run(settings, terms.resume_from, card)

    resources = held_resources(
        planned.machine, execution, card, nodes=planned.nodes, processes=planned.processes
    )
    speed_key = f"{planned.kind}/{planned.nodes}x{planned.processes}/{host_kind(execution)}"
    measured = tracking.recent_metric(
        settings,
        experiment=experiment,
        metric=planned.speed_metric,
        tags={"oppen.speed_key": speed_key},
        limit=MEASURED_RUNS,
    )
    judge = gate if terms.over_budget == "refuse" else assess
    verdict = judge(
        resources=resources,
        card=card,
        start=datetime.now(UTC),
        expected=expected_time(planned.work, resources, measured=measured),
        budget_usd=terms.budget_usd,
        deadline=deadline,
        spent_usd=spent,
        spot=terms.purchase == "spot" and execution.on_cluster,
        priority=terms.priority,
    )
    Deck("Gate", gate_table(verdict))
    commit = code_commit(execution)
    tracked = tracking.open_run(
        settings,
        experiment=experiment,
        execution=execution.name,
        name=f"{model_name}-{execution.name}",
        tags={
            "oppen.model": model_name,
            "oppen.commit": commit,
            "oppen.host": host_kind(execution),
            "oppen.speed_key": speed_key,
            "oppen.priority": terms.priority,
            "oppen.purchase_asked": terms.purchase,
            "oppen.spent_before_usd": str(spent),
            "oppen.resumed_from": terms.resume_from,
            "oppen.expected": verdict.describe(),
            "oppen.card": card.digest,
            **software_versions("oppen", "flytekit"),
            **tags,
        },
        params=params,
    )
    return Run(
        execution=execution.name,
        tracking_run=tracked.run_id,
        tracking_url=tracked.url,
        experiment=experiment,
        model_name=model_name,
        commit=commit,
        priority=terms.priority,
        purchase=terms.purchase,
        budget_usd=None if terms.budget_usd is None else str(terms.budget_usd),
        deadline=deadline.isoformat() if deadline else None,
        spent_before_usd=str(spent),
        resumed_execution=terms.resume_from or None,
        resume_from=FlyteFile(str(checkpoint)) if checkpoint else None,
        checkpoint_seconds=terms.checkpoint_seconds,
    )


def check_terms(terms: Terms, card: RateCard) -> datetime | None:
    """Refuses terms that make no sense; returns the deadline.

    Raises:
        ValueError: one of them is not what it should be.
    """
    now = datetime.now(UTC)
    if terms.budget_usd is not None and not terms.budget_usd > 0:
        raise ValueError(f"budget_usd is {terms.budget_usd}; give more than 0, or leave it out")
    if not terms.checkpoint_seconds > 0:
        raise ValueError(f"checkpoint_seconds is {terms.checkpoint_seconds}; give more than 0")
    if terms.over_budget not in OVER_BUDGET:
        raise ValueError(f"over_budget is {terms.over_budget!r}; give {' or '.join(OVER_BUDGET)}")
    if terms.purchase not in PURCHASES:
        raise ValueError(f"purchase is {terms.purchase!r}; give {' or '.join(PURCHASES)}")
    card.rates_at(now).factor(spot=False, priority=terms.priority)
    if not terms.deadline:
        return None
    deadline = instant(terms.deadline, field="deadline")
    if deadline <= now:
        raise ValueError(f"deadline is {terms.deadline}, which is past; give a later one")
    return deadline


def code_commit(execution: Execution) -> str:
    """The commit of the running code: the registered version, or what git says here."""
    if execution.on_cluster:
        return os.environ.get("FLYTE_INTERNAL_VERSION", "unknown")
    here = Path(__file__).resolve().parent
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"


def find_stopped(settings: Settings, execution: str) -> "TrackedRun":
    """Returns the run of a stopped execution.

    Raises:
        ValueError: there is no such execution.
    """
    from stores import tracking

    try:
        return tracking.find_run(settings, execution=execution)
    except ValueError as error:
        raise _not_resumed(execution, error) from error


def stopped_run(settings: Settings, execution: str, card: RateCard) -> tuple[Decimal, Path]:
    """What a stopped execution has spent, with those it resumed, and the checkpoint it left.

    Raises:
        ValueError: there is no such execution, or it left no checkpoint.
    """
    from stores import tracking

    stopped = find_stopped(settings, execution)
    folder = working_folder("checkpoint")
    try:
        kept = tracking.fetch_artifacts(settings, stopped.run_id, "checkpoint", folder)
    except ValueError as error:
        raise _not_resumed(execution, error) from error
    checkpoint = max(kept.iterdir())  # the name begins with the step
    before = Decimal(stopped.tags["oppen.spent_before_usd"])
    return before + bill(attempts_of(settings, stopped.run_id), card).total_cost_usd, checkpoint


def _not_resumed(execution: str, error: ValueError) -> ValueError:
    return ValueError(
        f"resume_from is {execution!r}, which cannot be resumed: {error}; "
        "give an execution that its budget or deadline stopped"
    )


def gate_table(verdict: Verdict) -> str:
    """The verdict as a small page."""
    return f"<h3>Gate</h3><p>{verdict.describe()}</p>"

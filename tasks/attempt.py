"""One attempt of a training task: its record for the bill, and the guard over its budget.

The record is written when the attempt starts and refreshed while it lives, so that one that is
killed is billed up to its last sign of life.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from accounting.bill import Bill, bill
from accounting.budget import BudgetGuard
from accounting.rates import RateCard
from accounting.run_record import COST_TAG, cost_tag
from accounting.usage import Attempt, Outcome, Purchase, Resources
from stores import tracking
from stores.attempts import AttemptLedger, read_attempts
from stores.settings import Settings
from tasks.execution import Execution, current_execution
from tasks.machines import Machine
from tasks.records import Run

_log = logging.getLogger(__name__)

HANDOVER_SECONDS = 2.0
"""Time that is kept for what follows the last step: a checkpoint, the last metrics, the model."""


@dataclass
class LiveAttempt:
    """The running attempt as its task sees it."""

    ledger: AttemptLedger
    record: Attempt
    guard: BudgetGuard
    outcome: Outcome = "succeeded"

    def checkpoint_saved(self) -> None:
        """Notes that work up to now will not be lost."""
        now = datetime.now(UTC)
        self.record = replace(self.record, last_checkpoint=now, end=now)
        self.ledger.update(self._as_of_now("running"))

    def finish(self, outcome: Outcome) -> None:
        """Writes the end of the attempt."""
        self.ledger.finish(self._as_of_now(outcome))

    def _as_of_now(self, outcome: Outcome) -> dict[str, object]:
        return replace(self.record, end=datetime.now(UTC), outcome=outcome).to_record()


@contextmanager
def billed_attempt(
    run: Run, *, task: str, machine: Machine, nodes: int = 1, processes: int = 1
) -> Iterator[LiveAttempt]:
    """Keeps the books of an attempt from here to the end of the block, on rank 0 alone.

    Args:
        run: The run it belongs to.
        task: Name of the task, the same on every attempt.
        machine: What each pod of the task holds.
        nodes: Pods.
        processes: Processes in each pod, which share what it holds.
    """
    execution = current_execution()
    settings = Settings.from_environment()
    card = RateCard.load(settings.rates_path)
    earlier = attempts_of(settings, run.tracking_run)
    start = datetime.now(UTC)
    record = Attempt(
        task=task,
        number=1 + max((a.number for a in earlier if a.task == task), default=-1),
        start=start,
        end=start,
        resources=held_resources(machine, execution, card, nodes=nodes, processes=processes),
        outcome="running",
        spot=is_spot(run, machine, execution),
        asked=asked_purchase(run),
        priority=run.priority,
        execution=run.execution,
    )
    guard = BudgetGuard(
        card=card,
        resources=record.resources,
        attempt_start=start,
        budget_usd=None if run.budget_usd is None else Decimal(run.budget_usd),
        deadline=None if run.deadline is None else datetime.fromisoformat(run.deadline),
        spent_before_usd=Decimal(run.spent_before_usd) + bill(earlier, card).total_cost_usd,
        spot=record.spot,
        priority=record.priority,
        reserve_seconds=HANDOVER_SECONDS,
    )
    ledger = AttemptLedger(settings, run.tracking_run, task=task, number=record.number)
    live = LiveAttempt(ledger=ledger, record=record, guard=guard)
    ledger.start(record.to_record())
    try:
        yield live
    except BaseException:
        live.finish("failed")
        _close_failed(settings, run, card)
        raise
    live.finish(live.outcome)


def write_bill(settings: Settings, tracking_run: str, card: RateCard) -> Bill:
    """Bills every attempt of a run that is not running now, and writes the bill to MLflow."""
    attempts = [ended(attempt) for attempt in attempts_of(settings, tracking_run, over=True)]
    total = bill(attempts, card)
    tracking.log_final(
        settings,
        tracking_run,
        metrics=total.metrics(),
        tags={COST_TAG: cost_tag(total), "oppen.purchase": "+".join(total.by_purchase)},
    )
    return total


def _close_failed(settings: Settings, run: Run, card: RateCard) -> None:
    """Bills a run whose training failed: nothing after it will, unless Flyte tries it again."""
    try:
        write_bill(settings, run.tracking_run, card)
        tracking.finish_run(settings, run.tracking_run, status="FAILED")
    except ConnectionError as error:  # the failure of the training is the one to report
        _log.warning("the bill of the failed run is not written: %s", error)


def attempts_of(settings: Settings, tracking_run: str, *, over: bool = False) -> list[Attempt]:
    """The attempts of a run so far, as their records say; `over` where none is alive."""
    records = read_attempts(settings, tracking_run, over=over)
    return [Attempt.from_record(record) for record in records]


def ended(attempt: Attempt) -> Attempt:
    """The attempt of a task that is over: one that still says "running" was killed."""
    return replace(attempt, outcome="killed") if attempt.outcome == "running" else attempt


def asked_purchase(run: Run) -> Purchase:
    """How the run was asked to be bought."""
    return "spot" if run.purchase == "spot" else "on-demand"


def is_spot(run: Run, machine: Machine, execution: Execution) -> bool:
    """Whether this attempt really runs on spot capacity.

    On one machine nothing does. On a cluster the pod's own label decides, which the default pod
    template passes in as `OPPEN_INTERRUPTIBLE`. Without it Flyte's rule does: the last attempt of
    an interruptible task gets an on-demand node, so that the run ends at all.
    """
    if not execution.on_cluster:
        return False
    if label := os.environ.get("OPPEN_INTERRUPTIBLE"):
        return label == "true"
    return (run.purchase == "spot" or machine.interruptible) and execution.attempt < machine.retries


def held_resources(
    machine: Machine, execution: Execution, card: RateCard, *, nodes: int, processes: int
) -> Resources:
    """What each process of the attempt holds: its share of the pod, or of this machine.

    A GPU of this machine that the card does not price is billed as a generic one.
    """
    if execution.on_cluster:
        return Resources(
            cores=Decimal(machine.cores) / processes,
            memory_gib=Decimal(machine.memory_gib) / processes,
            gpus=Decimal(machine.gpus) / processes,
            gpu_type=machine.accelerator_name,
            nodes=nodes,
            processes=processes,
        )
    gpus, gpu_type = local_gpus()
    return Resources(
        cores=Decimal(local_cores()) / processes,
        memory_gib=local_memory_gib() / processes,
        gpus=Decimal(min(gpus, nodes * processes)) / processes,
        gpu_type=gpu_type if card.rates_at(datetime.now(UTC)).knows(gpu_type) else "generic",
        nodes=nodes,
        processes=processes,
    )


def local_cores() -> int:
    """Cores that this process may use; where the system does not tell, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_gpus() -> tuple[int, str]:
    """Number and type of this machine's GPUs; torch is only loaded where there is a driver."""
    if not Path("/dev/nvidia0").exists():
        return 0, "generic"
    import torch

    count = torch.cuda.device_count()
    return count, torch.cuda.get_device_name(0) if count else "generic"


def local_memory_gib() -> Decimal:
    """Physical memory of this machine in GiB, to a tenth."""
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Decimal(num_bytes * 10 // 2**30) / 10


def host_kind(execution: Execution) -> str:
    """Says for the run's tags where it ran, without naming the host."""
    return "cluster" if execution.on_cluster else f"machine-{os.cpu_count()}-cores"

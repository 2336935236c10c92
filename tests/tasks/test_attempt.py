"""What an attempt held, how it was bought, and how it ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from accounting.bill import bill
from accounting.rates import RateCard
from accounting.run_record import RunRecord
from accounting.usage import Attempt, Resources
from stores.run_history import finished_runs
from stores.settings import Settings
from stores.tracking import finish_run, open_run, read_run
from tasks.attempt import (
    attempts_of,
    billed_attempt,
    ended,
    held_resources,
    host_kind,
    is_spot,
    write_bill,
)
from tasks.execution import Execution
from tasks.machines import GPU, GPU_PAIR
from tasks.records import Run

CARD = RateCard.load()
MACHINE = Execution(name="local-1", attempt=0, on_cluster=False)
CLUSTER = Execution(name="f1", attempt=0, on_cluster=True)
RUN = Run(
    execution="f1",
    tracking_run="r",
    tracking_url="",
    experiment="e",
    model_name="m",
    commit="c",
    purchase="spot",
)


@pytest.fixture(autouse=True)
def _no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the pod's own label to the tests that set it."""
    monkeypatch.delenv("OPPEN_INTERRUPTIBLE", raising=False)


def test_processes_of_a_pod_share_what_it_holds() -> None:
    """Two processes of the pair hold a GPU and half of the cores each; together the whole pod."""
    held = held_resources(GPU_PAIR, CLUSTER, CARD, nodes=1, processes=2)
    assert (held.cores, held.gpus) == (Decimal(4), Decimal(1))
    assert held.cores * held.world_size == GPU_PAIR.cores
    assert held.memory_gib * held.world_size == GPU_PAIR.memory_gib


def test_nodes_add_up() -> None:
    """Four nodes hold four pods."""
    held = held_resources(GPU, CLUSTER, CARD, nodes=4, processes=1)
    assert held.gpus * held.world_size == 4


def test_a_machine_is_held_once_however_many_processes_share_it() -> None:
    """The cores of one machine are billed once."""
    one = held_resources(GPU, MACHINE, CARD, nodes=1, processes=1)
    two = held_resources(GPU_PAIR, MACHINE, CARD, nodes=1, processes=2)
    assert one.cores * one.world_size == two.cores * two.world_size


def test_nothing_is_spot_on_one_machine() -> None:
    """Whatever was asked for."""
    assert not is_spot(RUN, GPU, MACHINE)


def test_the_last_attempt_of_a_spot_run_is_on_demand() -> None:
    """Flyte gives it a node that stays, so that the run ends at all."""
    attempts = [replace(CLUSTER, attempt=number) for number in range(GPU.retries + 1)]
    assert [is_spot(RUN, GPU, attempt) for attempt in attempts] == [True] * GPU.retries + [False]


@pytest.mark.parametrize(("label", "expected"), [("true", True), ("false", False)])
def test_the_pod_s_own_label_decides(
    monkeypatch: pytest.MonkeyPatch, label: str, expected: bool
) -> None:
    """It knows better than the rule."""
    monkeypatch.setenv("OPPEN_INTERRUPTIBLE", label)
    assert is_spot(RUN, GPU, replace(CLUSTER, attempt=GPU.retries)) is expected


def test_an_attempt_that_never_ended_was_killed_and_lost_its_work() -> None:
    """At the bill, "running" means killed: what came after the last checkpoint is lost."""
    start = datetime(2026, 11, 18, 12, tzinfo=UTC)
    attempt = Attempt(
        task="train",
        number=0,
        start=start,
        end=start + timedelta(hours=1),
        last_checkpoint=start + timedelta(minutes=45),
        resources=Resources(cores=4),
        outcome="running",
    )
    whole = bill([ended(attempt)], CARD)
    assert whole.lost_cost_usd == whole.total_cost_usd / 4
    assert whole.total_cost_usd == bill([attempt], CARD).total_cost_usd
    assert ended(replace(attempt, outcome="stopped")).outcome == "stopped"


def test_the_host_is_told_by_kind_alone() -> None:
    """No host name gets into a tag."""
    assert host_kind(CLUSTER) == "cluster"
    assert host_kind(MACHINE).startswith("machine-")


@pytest.mark.usefixtures("environment")
def test_a_run_whose_training_fails_is_billed(settings: Settings) -> None:
    """Its attempt counts as failed, all of it as lost, and the run has an end and a cost."""
    opened = open_run(settings, experiment="failing", execution="failing", name="failing")
    run = replace(RUN, execution="failing", tracking_run=opened.run_id, purchase="on-demand")

    with (
        pytest.raises(ArithmeticError, match="diverged"),
        billed_attempt(run, task="train", machine=GPU),
    ):
        raise ArithmeticError("diverged")

    failed = read_run(settings, opened.run_id)
    (attempt,) = attempts_of(settings, opened.run_id)
    assert (failed.status, attempt.outcome) == ("FAILED", "failed")
    assert failed.metrics["duration_seconds"] == pytest.approx(
        attempt.duration.total_seconds(), abs=0.001
    )
    assert failed.metrics["lost_cost_usd"] == failed.metrics["total_cost_usd"]
    (found,) = finished_runs(settings, experiments=["failing"])
    assert RunRecord.from_mapping(found).usd == bill([attempt], CARD).total_cost_usd


@pytest.mark.usefixtures("environment")
def test_a_second_attempt_has_the_next_number(settings: Settings) -> None:
    """The books of a run hold both; a failed run that is tried again ends as it then does."""
    opened = open_run(settings, experiment="retried", execution="retried", name="retried")
    run = replace(RUN, execution="retried", tracking_run=opened.run_id, purchase="on-demand")
    with pytest.raises(RuntimeError), billed_attempt(run, task="train", machine=GPU):
        raise RuntimeError("once")
    with billed_attempt(run, task="train", machine=GPU):
        pass

    numbers = [(a.number, a.outcome) for a in attempts_of(settings, opened.run_id)]
    assert numbers == [(0, "failed"), (1, "succeeded")]
    write_bill(settings, opened.run_id, CARD)
    finish_run(settings, opened.run_id)
    assert read_run(settings, opened.run_id).status == "FINISHED"

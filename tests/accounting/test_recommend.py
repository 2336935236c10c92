"""Recommendations: every saving is computed from the run's data and none is counted twice."""

import doctest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import nan, prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting import advice, early_stopping, throughput
from accounting.advice import Recommendation, combine
from accounting.bill import estimate
from accounting.early_stopping import MetricHistory
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.recommend import (
    STRATEGIES,
    cheaper_window,
    larger_batch,
    mixed_precision,
    recommend,
    right_size,
    right_size_gpu,
    spot,
    workers,
)
from accounting.recommend import (
    early_stopping as stop_early,
)
from accounting.run_data import RunData
from accounting.scaling import NETWORKS, ScalingModel, ScalingPoint, fit
from accounting.throughput import BatchPoint, ThroughputCurve
from accounting.usage import Attempt, Resources, Utilisation

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday, at full price
CARD = RateCard.load()
GPU = Resources(cores=4, memory_gib=16, gpus=1)


def attempt(hours: float = 2.0, **changes: object) -> Attempt:
    """An on-demand attempt from noon on, half of it at the GPU."""
    base = Attempt(
        task="train",
        number=0,
        start=NOON,
        end=NOON + timedelta(hours=hours),
        resources=GPU,
        utilisation=Utilisation(
            busy_cores=Decimal("0.6"), memory_gib=Decimal(3), gpu_busy=Decimal("0.4")
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def run(**changes: object) -> RunData:
    """Two hours of which 1,800 steps of 3.6 s are 90%."""
    base = RunData(attempts=[attempt()], card=CARD, steps=1800, step_seconds=3.6, batch_size=64)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_doctests_hold() -> None:
    """The examples in the docstrings are true."""
    for module in (advice, early_stopping, throughput):
        assert doctest.testmod(module).failed == 0


def test_a_run_without_data_gets_reasons_instead_of_savings() -> None:
    """With nothing but the bill, each way says what it needs; only the window is known."""
    bare = RunData(attempts=[attempt(utilisation=None)], card=CARD)
    found = recommend(bare)
    assert len(found.recommendations) == len(STRATEGIES) == 8
    told = [r.strategy for r in found.recommendations if r.saving is not None]
    assert told == ["cheaper window"]
    assert all("need" in r.action for r in found.recommendations if r.saving is None)


def test_larger_batch_follows_the_measured_curve() -> None:
    """With points at two sizes the saving is that of the fitted step time, on the steps' share."""
    points = [BatchPoint(batch_size=b, step_seconds=1.2 + 0.0375 * b) for b in (32, 64, 256)]
    found = larger_batch(run(batch_points=points))
    per_item = [(1.2 + 0.0375 * b) / b for b in (256, 64)]
    assert found.saving == pytest.approx(0.9 * (1 - per_item[0] / per_item[1]))
    assert found.confidence == "high"
    assert "from 64 to 256" in found.action


def test_larger_batch_is_modelled_from_a_half_idle_gpu() -> None:
    """Without a sweep only the idle part of a step is spread over more items."""
    found = larger_batch(run(gpu_memory_gib=4.0, gpu_memory_limit_gib=16.0))
    assert "from 64 to 230" in found.action  # 90% of four times as much memory
    assert found.saving == pytest.approx(0.9 * 0.6 * (1 - 64 / 230))
    assert found.confidence == "medium"
    full = attempt(utilisation=Utilisation(gpu_busy=1))
    busy = run(attempts=[full], gpu_memory_gib=4.0, gpu_memory_limit_gib=16.0)
    assert larger_batch(busy).saving is None


def test_mixed_precision_is_measured_never_assumed() -> None:
    """The saving is that of the measured steps; without them there is none."""
    found = mixed_precision(run(precision_points={"bf16": 1.8, "fp16": 2.0}))
    assert found.saving == pytest.approx(0.9 * 0.5)
    assert "bf16" in found.action
    assert mixed_precision(run()).saving is None
    assert mixed_precision(run(precision="bf16")).saving is None
    assert mixed_precision(run(precision_points={"bf16": 4.0})).saving is None


def test_fewer_workers_where_the_network_eats_the_gain() -> None:
    """Two workers on 1 GbE cost more than twice one, and the fitted model tells how much."""
    points = [ScalingPoint(workers=n, step_seconds=s) for n, s in ((1, 1.0), (2, 3.12))]
    scaling = fit(points, payload_bytes=328e6, network=NETWORKS["1gbe"])
    two = attempt(resources=replace(GPU, nodes=2))
    found = workers(run(attempts=[two], scaling=scaling))
    assert found.saving == pytest.approx(0.9 * (1 - 1 / 6.24), rel=1e-3)
    assert found.confidence == "high"
    assert "slower than one" in found.action
    stated = ScalingModel(compute_seconds=1, payload_bytes=1e6, network=NETWORKS["1gbe"])
    assert workers(run(scaling=stated)).saving is None


def test_early_stopping_replays_the_rule() -> None:
    """The saving is the steps after the stop; what is given up is named."""
    flat = [(300, 0.9), (600, 0.5), (900, 0.5), (1200, 0.51), (1500, 0.5), (1800, 0.49)]
    history = MetricHistory(name="val_loss", values=flat)
    found = stop_early(run(metric=history))
    assert found.saving == pytest.approx(0.9 * (1 - 1500 / 1800))
    assert "0.01 short" in found.action
    assert found.confidence == "medium"
    rising = MetricHistory(
        name="accuracy", values=[(300 * i, 0.1 * i) for i in range(1, 7)], higher_is_better=True
    )
    assert stop_early(run(metric=rising)).saving is None


def test_early_stopping_survives_values_that_are_no_numbers() -> None:
    """A NaN never improves; a history of nothing else, or out of order, is refused."""
    history = MetricHistory(name="loss", values=[(1, 0.5), (2, nan), (3, nan), (4, nan), (5, 0.6)])
    stop = history.early_stop()
    assert stop is not None
    assert (stop.step, stop.best_step, stop.given_up) == (4, 1, 0)
    with pytest.raises(ValueError, match="hold no number"):
        MetricHistory(name="loss", values=[(1, nan)])
    with pytest.raises(ValueError, match="not in order"):
        MetricHistory(name="loss", values=[(2, 0.1), (1, 0.2)])


def test_the_cheaper_window_is_the_exact_one() -> None:
    """From noon on a Wednesday the night at half price is found; a run at night has no better."""
    found = cheaper_window(run())
    assert found.saving == pytest.approx(0.5)
    assert "10.0 h later" in found.action
    night = attempt(start=NOON + timedelta(hours=11), end=NOON + timedelta(hours=13))
    assert cheaper_window(run(attempts=[night])).saving is None
    assert cheaper_window(run(wait=timedelta(hours=3))).saving is None


def test_spot_counts_its_own_preemption_loss() -> None:
    """The saving is the bill on spot for the longer, expected time, against the bill as it was."""
    model = Preemption(per_hour=0.2, checkpoint_seconds=600, restart_seconds=300)
    found = spot(run(preemption=model))
    longer = model.expected_seconds(7200)
    paid = estimate(GPU, CARD, start=NOON, seconds=round(longer, 6), spot=True).usd
    full = estimate(GPU, CARD, start=NOON, seconds=7200).usd
    assert found.saving == pytest.approx(float(1 - paid / full))
    assert found.saving < 0.7
    assert found.confidence == "low"
    wild = Preemption(per_hour=2000, checkpoint_seconds=600, restart_seconds=300)
    assert spot(run(preemption=wild)).saving is None
    assert spot(run(attempts=[attempt(spot=True)], preemption=model)).saving is None


def test_right_size_releases_what_was_not_at_work() -> None:
    """0.6 busy cores with headroom need one: three of four cores are given back."""
    found = right_size(run())
    assert found.saving == pytest.approx(3 * 0.05 / 0.45)
    assert "1 cores and 4 GiB" in found.action


@pytest.fixture
def gpu_card(tmp_path: Path) -> RateCard:
    """A card that prices two GPUs."""
    path = tmp_path / "rates.yaml"
    path.write_text(
        """
currency: USD
timezone: UTC
versions:
  - effective: 2020-01-01
    prices:
      core_hour: {price: 0, source: test, date: 2020-01-01}
      gpu_hour:
        t4: {price: 0.35, source: test, date: 2020-01-01}
        a100: {price: 2.8, source: test, date: 2020-01-01}
    bands: [{name: all, multiplier: 1, when: otherwise}]
"""
    )
    return RateCard.load(path)


def test_a_mostly_idle_gpu_is_replaced_by_a_smaller_one(gpu_card: RateCard) -> None:
    """At 40% busy on an A100 a T4 takes longer but costs less, by the ratio of peak speeds."""
    on_a100 = attempt(resources=replace(GPU, gpu_type="a100"))
    found = right_size_gpu(run(attempts=[on_a100], card=gpu_card))
    slower = 0.6 + 0.4 * 312 / 65
    assert found.saving == pytest.approx(1 - slower * 0.35 / 2.8)
    assert found.confidence == "low"
    on_t4 = attempt(resources=replace(GPU, gpu_type="t4"))
    assert right_size_gpu(run(attempts=[on_t4], card=gpu_card)).saving is None
    assert right_size_gpu(run()).saving is None


def test_savings_multiply_and_no_lever_is_pulled_twice() -> None:
    """Batch and precision both shorten the step, so only the better one counts."""
    full = recommend(
        run(
            gpu_memory_gib=4.0,
            gpu_memory_limit_gib=16.0,
            precision_points={"bf16": 1.8},
            preemption=Preemption(per_hour=0.1, checkpoint_seconds=600, restart_seconds=60),
        )
    )
    assert "mixed precision" in full.combined
    assert "larger batch" not in full.combined
    alone = {r.strategy: r.saving for r in full.recommendations}
    left = prod(1 - (alone[name] or 0) for name in full.combined)
    assert full.combined_saving == pytest.approx(1 - left)
    assert full.combined_saving < 1
    assert full.combined_saving_usd < full.cost_usd == Decimal("0.900000")
    assert full.saving_usd("cheaper window") == Decimal("0.450000")
    assert full.to_record()["combined_saving_usd"] == str(full.combined_saving_usd)


LEVERS = ("step time", "steps", "cores and memory", "gpu", "start", "purchase")


@given(
    st.lists(
        st.tuples(st.floats(0.01, 0.9), st.sets(st.sampled_from(LEVERS), min_size=1, max_size=2)),
        max_size=6,
    )
)
def test_combining_never_saves_less_than_the_best_or_more_than_all(
    pairs: list[tuple[float, set[str]]],
) -> None:
    """The set saves at least its best member, less than everything, with levers apart."""
    given_ = [
        Recommendation(strategy=str(i), saving=s, action="", levers=frozenset(levers))  # type: ignore[arg-type]
        for i, (s, levers) in enumerate(pairs)
    ]
    found = combine(Fraction(1), given_)
    chosen = [r for r in given_ if r.strategy in found.combined]
    assert found.combined_saving >= max((s for s, _ in pairs), default=0) - 1e-12
    assert found.combined_saving < 1
    pulled = [lever for r in chosen for lever in r.levers]
    assert len(pulled) == len(set(pulled))


def test_throughput_needs_two_sizes() -> None:
    """One batch size says nothing about another."""
    with pytest.raises(ValueError, match="fewer than two"):
        ThroughputCurve.fit([BatchPoint(batch_size=8, step_seconds=0.1)] * 2)
    with pytest.raises(ValueError, match="attempts is empty"):
        RunData(attempts=[], card=CARD)

"""Plans: exact optima against brute force, preemption, fronts and refusals."""

import doctest
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting import job as job_module
from accounting import pareto, preemption
from accounting.bill import estimate
from accounting.job import Job, Option, price_starts, variants
from accounting.pareto import pareto_front
from accounting.plan import PlanError, plan, windows
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.scaling import NETWORKS, ScalingModel
from accounting.usage import Attempt, Resources

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
GPU = Resources(cores=4, memory_gib=16, gpus=1)
CARD = RateCard.load()
SPOT = Preemption(per_hour=0.1, checkpoint_seconds=600, restart_seconds=120)


def test_doctests_hold() -> None:
    """The examples in the docstrings are true."""
    for module in (pareto, preemption, job_module):
        assert doctest.testmod(module).failed == 0


@pytest.fixture(scope="module")
def jagged_card(tmp_path_factory: pytest.TempPathFactory) -> RateCard:
    """A card with many bands, a time zone with daylight saving and a change of prices."""
    path = tmp_path_factory.mktemp("card") / "rates.yaml"
    path.write_text(
        """
currency: USD
timezone: Europe/Berlin
versions:
  - effective: 2020-01-01
    prices:
      core_hour: {price: 0.05, source: test, date: 2020-01-01}
      gpu_hour: {generic: {price: 0.25, source: test, date: 2020-01-01}}
    bands:
      - {name: night, multiplier: 0.5, when: [{hours: "22:00-06:00"}]}
      - {name: noon, multiplier: 0.7, when: [{hours: "11:30-13:00"}]}
      - {name: evening, multiplier: 1.7, when: [{hours: "17:00-20:15"}]}
      - {name: day, multiplier: 1, when: otherwise}
    spot: 0.3
    priority: {urgent: 1.5, normal: 1, background: 0.8}
  - effective: 2026-03-30
    prices:
      gpu_hour: {generic: {price: 0.19, source: test, date: 2026-03-01}}
"""
    )
    return RateCard.load(path)


@pytest.mark.parametrize("minutes", [7, 95, 600, 1500])
@pytest.mark.parametrize("spot", [False, True])
def test_the_optimum_equals_brute_force(jagged_card: RateCard, minutes: int, spot: bool) -> None:
    """No start on a grid of minutes, over a clock change and a price change, is cheaper."""
    now = datetime(2026, 3, 28, 9, 17, tzinfo=UTC)
    horizon = timedelta(days=2)
    job = Job(steps=minutes, step_seconds=60.0, resources=GPU)
    calm = Preemption(per_hour=0, checkpoint_seconds=600, restart_seconds=0)
    best = plan(
        job, card=jagged_card, now=now, horizon=horizon, preemption=calm if spot else None
    ).cheapest
    brute = min(
        estimate(GPU, jagged_card, start=now + i * 5 * MINUTE, seconds=minutes * 60, spot=spot).usd
        for i in range(2 * 24 * 12 + 1)
    )
    ways = variants(
        job, card=jagged_card, now=now, last_start=now + horizon, preemption=calm if spot else None
    )
    finer = min(way.at(now + i * MINUTE).usd for way in ways for i in range(2 * 24 * 60 + 1))
    assert best.usd == finer <= brute
    assert best.purchase == ("spot" if spot else "on-demand")
    assert (
        best.usd
        == estimate(GPU, jagged_card, start=best.start, seconds=minutes * 60, spot=spot).usd
    )


@settings(max_examples=40, deadline=None)
@given(
    seconds=st.integers(1, 200_000),
    start=st.integers(0, 604_800),
    wait=st.integers(1, 604_800),
    seed=st.integers(0, 1000),
)
def test_no_random_start_beats_the_optimum(seconds: int, start: int, wait: int, seed: int) -> None:
    """Whatever the length, the horizon and the start of the week: nothing is cheaper."""
    now = NOON + timedelta(seconds=start)
    job = Job(steps=seconds, step_seconds=1.0, resources=GPU)
    horizon = timedelta(seconds=wait)
    best = plan(job, card=CARD, now=now, horizon=horizon).cheapest
    assert now <= best.start <= now + horizon
    (way,) = variants(job, card=CARD, now=now, last_start=now + horizon)
    draw = random.Random(seed)
    for _ in range(20):
        assert way.at(now + draw.random() * horizon).usd >= best.usd


def test_the_deadline_holds_for_every_option() -> None:
    """Nothing on the front and no choice ends after the deadline."""
    job = Job(steps=3600, step_seconds=4.0, resources=GPU)
    deadline = NOON + timedelta(hours=15)
    found = plan(job, card=CARD, now=NOON, deadline=deadline, preemption=SPOT)
    assert all(option.end <= deadline for option in (*found.front, *found.choices.values()))
    assert found.cheapest.start.hour >= 22 or found.cheapest.end.hour < 6
    assert "weekend" in found.absent


def test_now_tonight_and_weekend_are_priced() -> None:
    """The default card halves nights and weekends, and the plan says so."""
    job = Job(steps=3600, step_seconds=1.0, resources=GPU)
    found = plan(job, card=CARD, now=NOON)
    assert found.choices["now"].cost_usd == Decimal("0.450000")
    assert found.choices["tonight"].cost_usd == Decimal("0.225000")
    assert found.choices["tonight"].start == datetime(2026, 3, 4, 22, tzinfo=UTC)
    assert found.choices["weekend"].start == datetime(2026, 3, 7, tzinfo=UTC)
    assert found.saving("tonight") == pytest.approx(0.5)
    assert found.cheapest == found.choices["tonight"]


def test_windows_follow_the_wall_clock() -> None:
    """Tonight and the weekend are those of the card's time zone, also while they last."""
    zone = ZoneInfo("America/New_York")
    friday_evening = datetime(2026, 3, 7, 1, tzinfo=UTC)  # Friday 20:00 there
    found = windows(friday_evening, zone)
    assert found["tonight"] == (friday_evening, datetime(2026, 3, 7, 11, tzinfo=UTC))
    assert found["weekend"][0] == datetime(2026, 3, 7, 5, tzinfo=UTC)
    # The clocks go forward on Sunday 8 March, so Monday begins at 04:00 UTC.
    assert found["weekend"][1] == datetime(2026, 3, 9, 4, tzinfo=UTC)
    early = datetime(2026, 3, 7, 8, tzinfo=UTC)  # Saturday 03:00 there: the night under way
    assert windows(early, zone)["tonight"] == (early, datetime(2026, 3, 7, 11, tzinfo=UTC))


def test_workers_are_chosen_by_the_scaling_model() -> None:
    """Over 1 GbE the front stays on one worker for full gradients and adds workers for adapters."""
    full = ScalingModel(compute_seconds=1.0, payload_bytes=330e6, network=NETWORKS["1gbe"])
    adapters = ScalingModel(compute_seconds=1.0, payload_bytes=0.6e6, network=NETWORKS["1gbe"])
    fronts = []
    for scaling in (full, adapters):
        job = Job(steps=3600, step_seconds=1.0, resources=GPU, scaling=scaling)
        found = plan(job, card=CARD, now=NOON, workers=(1, 2, 4))
        fronts.append({option.workers for option in found.front})
        assert any("all-reduce" in line for line in found.assumptions)
    assert fronts[0] == {1}
    assert fronts[1] == {1, 2, 4}


def test_the_front_has_no_dominated_option() -> None:
    """Along the front the end comes later and the cost falls, and no candidate beats a member."""
    scaling = ScalingModel(compute_seconds=1.0, payload_bytes=0.6e6, network=NETWORKS["1gbe"])
    job = Job(steps=7200, step_seconds=1.0, resources=GPU, scaling=scaling)
    found = plan(job, card=CARD, now=NOON, workers=(1, 2, 4), preemption=SPOT)
    ends = [option.end for option in found.front]
    costs = [option.usd for option in found.front]
    assert ends == sorted(ends)
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs) > 2
    assert found.front[-1].usd == found.cheapest.usd
    for way in variants(
        job,
        card=CARD,
        now=NOON,
        last_start=NOON + timedelta(days=1),
        workers=(1, 2, 4),
        preemption=SPOT,
    ):
        for hour in range(24):
            option = way.at(NOON + timedelta(hours=hour))
            earlier = [kept for kept in found.front if kept.end <= option.end]
            assert earlier or option.end < found.front[0].end
            assert not earlier or option.usd >= min(kept.usd for kept in found.front)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_pareto_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    """The front equals the definition of dominance, checked pair by pair."""
    expected = {
        a for a in pairs if not any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in pairs)
    }
    assert set(pareto_front(pairs, key=lambda pair: pair)) == expected


@pytest.mark.parametrize("workers", [1, 3])
def test_expected_preemption_loss_matches_a_simulation(workers: int) -> None:
    """The formula's mean agrees with simulated preemptions, restarts preempted too."""
    model = Preemption(per_hour=1.5, checkpoint_seconds=900, restart_seconds=200, save_seconds=15)
    work, runs = 4000.0, 4000
    draw = random.Random(7)
    rate = model.per_hour * workers / 3600
    total = 0.0
    for _ in range(runs):
        left = work
        while left > 0:
            stretch = min(left, model.checkpoint_seconds)
            need, at_hand = stretch + model.save_seconds, draw.expovariate(rate)
            while at_hand < need:  # preempted: the stretch starts over after a restart
                total += at_hand
                need = model.restart_seconds + stretch + model.save_seconds
                at_hand = draw.expovariate(rate)
            total += need
            left -= stretch
    assert total / runs == pytest.approx(model.expected_seconds(work, workers=workers), rel=0.02)


def test_no_preemption_loses_nothing_and_constant_preemption_never_ends() -> None:
    """The limits of the formula: a rate of 0, and one that lets no stretch finish."""
    calm = Preemption(per_hour=0, checkpoint_seconds=60, restart_seconds=60)
    assert calm.lost_seconds(1000) == 0
    wild = Preemption(per_hour=10_000, checkpoint_seconds=3600, restart_seconds=60)
    assert wild.expected_seconds(3600) == float("inf")
    job = Job(steps=3600, step_seconds=1.0, resources=GPU)
    assert plan(job, card=CARD, now=NOON, preemption=wild).cheapest.purchase == "on-demand"


def test_the_rate_of_preemption_is_measured_from_attempts() -> None:
    """Killed spot attempts count over the node-hours of spot; on-demand time does not."""
    attempts = [
        Attempt(
            task="train",
            number=number,
            start=NOON,
            end=NOON + timedelta(hours=hours),
            resources=GPU,
            spot=spot,
            outcome=outcome,
        )
        for number, (hours, spot, outcome) in enumerate(
            [(4, True, "killed"), (6, True, "succeeded"), (90, False, "succeeded")]
        )
    ]
    found = Preemption.measured(attempts, checkpoint_seconds=600, restart_seconds=60)
    assert found.per_hour == pytest.approx(0.15)
    with pytest.raises(ValueError, match="no spot time"):
        Preemption.measured(attempts[2:], checkpoint_seconds=600, restart_seconds=60)


def test_what_cannot_be_done_is_refused_with_what_would_do() -> None:
    """An impossible deadline names the earliest end, a small budget the cheapest cost."""
    job = Job(steps=3600, step_seconds=1.0, resources=GPU)
    with pytest.raises(PlanError, match="earliest expected end 2026-03-04T13:00:00"):
        plan(job, card=CARD, now=NOON, deadline=NOON + timedelta(minutes=59))
    with pytest.raises(PlanError, match=r"at 0\.225000 USD"):
        plan(job, card=CARD, now=NOON, budget_usd=Decimal("0.2"))
    with pytest.raises(ValueError, match="scaling is missing for 2 workers"):
        plan(job, card=CARD, now=NOON, workers=(1, 2))
    with pytest.raises(ValueError, match="time zone"):
        plan(job, card=CARD, now=NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match=r"resources\.nodes is 2"):
        Job(steps=1, step_seconds=1.0, resources=Resources(cores=1, nodes=2))


def test_a_budget_leaves_only_what_it_can_pay() -> None:
    """With money for a night but not for a day, "now" is absent and the night is chosen."""
    job = Job(steps=3600, step_seconds=1.0, resources=GPU)
    found = plan(job, card=CARD, now=NOON, budget_usd=Decimal("0.3"))
    assert "now" in found.absent
    assert found.saving("cheapest") is None
    assert all(option.usd <= Decimal("0.3") for option in found.front)


def test_many_starts_cost_what_the_bill_says() -> None:
    """A candidate start prices as the bill of the same attempt, to the last digit."""
    job = Job(steps=5000, step_seconds=1.0, resources=GPU)
    (way,) = variants(job, card=CARD, now=NOON, last_start=NOON + timedelta(days=7))
    starts = [NOON + timedelta(hours=5 * i, seconds=i) for i in range(30)]
    options: list[Option] = price_starts(way, starts)
    for start, option in zip(starts, options, strict=True):
        assert option.usd == estimate(GPU, CARD, start=start, seconds=5000).usd

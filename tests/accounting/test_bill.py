"""Bills: the identities that must hold, and what each attempt is charged for."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.bill import Bill, bill, estimate
from accounting.rates import RateCard, RatesError
from accounting.usage import Attempt, Resources, Utilisation

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MACHINE = Resources(cores=4, memory_gib=16, gpus=1, gpu_type="t4", storage_gib=100)
TURNS = (
    datetime(2026, 3, 29, 0, tzinfo=UTC),  # clocks forward
    datetime(2026, 10, 25, 0, tzinfo=UTC),  # clocks back
    datetime(2026, 6, 30, 20, tzinfo=UTC),  # new rates
    datetime(2028, 2, 28, 10, tzinfo=UTC),  # leap day, end of a season
    datetime(2025, 12, 31, 22, tzinfo=UTC),  # new year inside a season
)

moments = st.one_of(
    st.sampled_from(TURNS).flatmap(
        lambda turn: st.integers(-2880, 2880).map(lambda minutes: turn + timedelta(minutes=minutes))
    ),
    st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1)).map(  # noqa: DTZ001 - zone follows
        lambda moment: moment.replace(tzinfo=UTC)
    ),
)
lengths = st.timedeltas(timedelta(0), timedelta(days=20))


def attempt(number: int, start: datetime, end: datetime, **changes: object) -> Attempt:
    """One attempt of a training task on the machine of these tests."""
    fields: dict[str, object] = {"task": "train", "resources": MACHINE, **changes}
    return Attempt(number=number, start=start, end=end, **fields)


@st.composite
def histories(draw: st.DrawFn) -> list[Attempt]:
    """Attempts of one run: spot or not, ended in every way, measured or not."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        start = draw(moments)
        end = start + draw(lengths)
        outcome = draw(st.sampled_from(["succeeded", "failed", "killed", "stopped"]))
        share = draw(st.none() | st.floats(0, 1))
        used = st.builds(
            Utilisation,
            busy_cores=st.integers(0, 6),
            memory_gib=st.integers(0, 32),
            gpu_busy=st.decimals(0, 1, places=3),
        )
        found.append(
            attempt(
                number,
                start,
                end,
                outcome=outcome,
                spot=draw(st.booleans()),
                priority=draw(st.sampled_from(["urgent", "normal", "background"])),
                last_checkpoint=None if share is None else start + share * (end - start),
                utilisation=draw(st.none() | used),
            )
        )
    return found


def test_the_reference_example_costs_what_it_should(default_card: RateCard) -> None:
    """213.4 s on 4 cores and 1 GPU at peak: 4 x 0.05 + 0.25 USD an hour."""
    cost = estimate(Resources(cores=4, gpus=1), default_card, start=NOON, seconds=213.4)
    assert cost.usd == (4 * Fraction("0.05") + Fraction("0.25")) * Fraction("213.4") / 3600
    assert cost.duration_seconds == Decimal("213.4")
    assert cost.cpu_cost_usd == Decimal("0.011856")
    assert cost.gpu_cost_usd == Decimal("0.014819")
    assert cost.total_cost_usd == Decimal("0.026675")


def exactly(cost: Bill, band: str) -> Fraction:
    """Sums one band, unrounded."""
    return sum((line.usd for line in cost.lines if line.band == band), Fraction(0))


@given(start=moments, cuts=st.lists(lengths, min_size=1, max_size=6), spot=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_partition_of_an_interval_sums_to_the_whole(
    berlin_card: RateCard, start: datetime, cuts: list[timedelta], spot: bool
) -> None:
    """However an attempt is cut, its parts cost exactly what it costs."""
    edges = [start]
    for cut in cuts:
        edges.append(edges[-1] + cut)
    parts = [
        attempt(number, left, right, spot=spot)
        for number, (left, right) in enumerate(itertools.pairwise(edges))
    ]
    whole = bill([attempt(0, edges[0], edges[-1], spot=spot)], berlin_card)
    split = bill(parts, berlin_card)
    assert split.usd == whole.usd
    for band in whole.by_band:
        assert exactly(split, band) == exactly(whole, band)
    assert split.duration_seconds == whole.duration_seconds


@given(history=histories(), seed=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_run_costs_the_sum_of_its_attempts_in_any_order(
    berlin_card: RateCard, history: list[Attempt], seed: object
) -> None:
    """Attempts add up exactly, and their order changes nothing."""
    run = bill(history, berlin_card)
    alone = [bill([one], berlin_card) for one in history]
    assert run.usd == sum(part.usd for part in alone)
    assert run.total_cost_usd == sum(part.total_cost_usd for part in alone)
    assert run.lost_cost_usd == sum(part.lost_cost_usd for part in alone)
    shuffled = list(history)
    seed.shuffle(shuffled)
    again = bill(shuffled, berlin_card)
    assert again.metrics() == run.metrics()
    assert Counter(again.lines) == Counter(run.lines)


@given(history=histories())
@settings(max_examples=60, deadline=None)
def test_every_breakdown_adds_up_to_the_total(
    berlin_card: RateCard, history: list[Attempt]
) -> None:
    """Shown parts sum to the shown total; lost and idle lie within it, never on top.

    The shown total is the exact one to within half a millionth of a dollar per line.
    """
    run = bill(history, berlin_card)
    for parts in (run.by_resource, run.by_band, run.by_purchase, run.by_task, run.by_attempt):
        assert sum(parts.values()) == run.total_cost_usd
    assert abs(Fraction(run.total_cost_usd) - run.usd) <= len(run.lines) * Fraction("0.0000005")
    assert 0 <= run.lost_cost_usd <= run.total_cost_usd
    assert 0 <= run.idle_cost_usd <= run.total_cost_usd
    for line in run.lines:
        assert 0 <= line.lost_usd <= line.usd
        assert 0 <= line.idle_usd <= line.usd


def priced_minute_by_minute(start: datetime, minutes: int) -> Fraction:
    """Prices one t4 in the Berlin card by looking at the wall clock at every minute."""
    total = Fraction(0)
    for passed in range(minutes):
        local = (start + timedelta(minutes=passed)).astimezone(BERLIN)
        day, clock = local.weekday(), (local.hour, local.minute)
        winter = (local.month, local.day) >= (11, 15) or local.month <= 2
        if (day, clock) >= (4, (20, 0)) or (day, clock) < (0, (5, 0)):
            multiplier = Fraction(3, 10)
        elif (day <= 3 and clock >= (22, 0)) or (1 <= day <= 4 and clock < (5, 0)):
            multiplier = Fraction(6, 10)
        elif winter and day <= 4 and (11, 0) <= clock < (13, 30):
            multiplier = Fraction(17, 10)
        else:
            multiplier = Fraction(1)
        total += multiplier
    return total * Fraction(2, 10) / 60


@given(start=moments, minutes=st.integers(0, 3 * 1440))
@settings(max_examples=40, deadline=None)
def test_the_bill_equals_a_walk_over_every_minute(
    berlin_card: RateCard, start: datetime, minutes: int
) -> None:
    """Integration over bands, seasons and clock changes agrees with a plain minute-wise sum."""
    start = start.replace(second=0, microsecond=0)
    gpu = Resources(cores=0, gpus=1, gpu_type="t4")
    cost = bill([attempt(0, start, start + timedelta(minutes=minutes), resources=gpu)], berlin_card)
    assert cost.usd == priced_minute_by_minute(start, minutes)


@given(start=moments)
@settings(max_examples=20, deadline=None)
def test_zero_length_costs_nothing(berlin_card: RateCard, start: datetime) -> None:
    """An attempt that ends where it starts has no lines and no cost."""
    cost = bill([attempt(0, start, start)], berlin_card)
    assert cost.lines == ()
    assert cost.total_cost_usd == 0
    assert cost.by_attempt == {"train#0": Decimal(0)}


@pytest.mark.parametrize(
    ("day", "hours", "night"),
    [((2026, 3, 29), 23, 5), ((2026, 10, 25), 25, 7), ((2026, 6, 7), 24, 6)],
)
def test_days_of_23_and_25_hours_are_charged_for_the_time_that_passed(
    owned_card: RateCard, day: tuple[int, int, int], hours: int, night: int
) -> None:
    """From local midnight to midnight the clock change shortens or lengthens the night."""
    start = datetime(*day, tzinfo=BERLIN)
    end = (start + timedelta(days=1)).astimezone(UTC)
    cost = bill([attempt(0, start, end, resources=Resources(cores=1))], owned_card)
    seconds = {line.band: line.seconds for line in cost.lines}
    assert cost.duration_seconds == hours * 3600
    assert seconds == {"night": (night + 2) * 3600, "day": 16 * 3600}


def test_a_rate_change_splits_a_run_that_spans_it(berlin_card: RateCard) -> None:
    """New prices hold from local midnight of their date, not from midnight UTC."""
    midnight = datetime(2026, 7, 1, tzinfo=BERLIN)
    core = Resources(cores=1)
    cost = bill(
        [attempt(0, midnight - timedelta(hours=1), midnight + timedelta(hours=3), resources=core)],
        berlin_card,
    )
    assert {line.effective: line.usd for line in cost.lines} == {
        "2019-12-30": Fraction("0.04") * Fraction("0.6"),
        "2026-07-01": Fraction("0.05") * Fraction("0.6") * 3,
    }
    assert cost.attempts[0].start.tzinfo is UTC


def test_spot_lowers_only_attempts_that_were_spot(default_card: RateCard) -> None:
    """A spot attempt that was preempted, then the on-demand one that finished the work."""
    hour = timedelta(hours=1)
    gpu = Resources(cores=0, gpus=1)
    run = bill(
        [
            attempt(
                0,
                NOON,
                NOON + hour,
                resources=gpu,
                spot=True,
                asked="spot",
                outcome="killed",
                last_checkpoint=NOON + 0.75 * hour,
            ),
            attempt(1, NOON + hour, NOON + 2 * hour, resources=gpu, asked="spot"),
        ],
        default_card,
    )
    assert run.by_purchase == {"spot": Decimal("0.075"), "on-demand": Decimal("0.25")}
    assert run.lost_cost_usd == Decimal("0.01875")
    assert run.total_cost_usd == Decimal("0.325")
    assert [one.label for one in run.surprises] == ["train#1"]


@pytest.mark.parametrize(
    ("outcome", "saved_after_minutes", "lost"),
    [
        ("killed", None, "0.25"),
        ("killed", -30, "0.25"),
        ("killed", 30, "0.125"),
        ("failed", 45, "0.0625"),
        ("succeeded", None, "0"),
        ("stopped", 30, "0"),
    ],
)
def test_lost_work_is_the_time_after_the_last_checkpoint(
    default_card: RateCard, outcome: str, saved_after_minutes: int | None, lost: str
) -> None:
    """Only attempts that broke off lose work: all of it when nothing was saved during them."""
    saved = None
    if saved_after_minutes is not None:
        saved = NOON + timedelta(minutes=saved_after_minutes)
    cost = bill(
        [
            attempt(
                0,
                NOON,
                NOON + timedelta(hours=1),
                resources=Resources(cores=0, gpus=1),
                outcome=outcome,
                last_checkpoint=saved,
            )
        ],
        default_card,
    )
    assert cost.lost_cost_usd == Decimal(lost)
    assert cost.total_cost_usd == Decimal("0.25")


def test_the_larger_of_request_and_usage_is_charged(berlin_card: RateCard) -> None:
    """Use above the request is charged as used; a request above use is charged and shown idle."""
    asked = Resources(cores=4, memory_gib=16, gpus=2)
    used = Utilisation(busy_cores=6, memory_gib=4, gpu_busy=Decimal("0.25"))
    cost = bill(
        [attempt(0, NOON, NOON + timedelta(hours=1), resources=asked, utilisation=used)],
        berlin_card,
    )
    assert {line.resource: line.unit_hours for line in cost.lines} == {
        "cpu": 6,
        "gpu": 2,
        "memory": 16,
    }
    idle = {line.resource: line.idle_usd for line in cost.lines}
    assert idle == {
        "cpu": 0,
        "gpu": Fraction("1.5") * Fraction("0.3"),
        "memory": 12 * Fraction("0.005"),
    }


def test_nodes_and_processes_multiply_what_one_process_holds(default_card: RateCard) -> None:
    """3 nodes with 2 processes each cost six times one process."""
    one = estimate(Resources(cores=2, gpus=1), default_card, start=NOON, seconds=100)
    six = estimate(
        Resources(cores=2, gpus=1, nodes=3, processes=2), default_card, start=NOON, seconds=100
    )
    assert six.usd == 6 * one.usd
    assert six.duration_seconds == one.duration_seconds


@pytest.mark.parametrize(("priority", "factor"), [("urgent", "1.5"), ("background", "0.8")])
def test_priority_multiplies_the_price(default_card: RateCard, priority: str, factor: str) -> None:
    """Urgent work costs more than normal work, background work less."""
    normal = estimate(MACHINE, default_card, start=NOON, seconds=60)
    other = estimate(MACHINE, default_card, start=NOON, seconds=60, priority=priority)
    assert other.usd == normal.usd * Fraction(factor)


def test_owned_hardware_costs_electricity_by_band_and_a_write_off(owned_card: RateCard) -> None:
    """Watts follow tariff and use, the write-off does not; euros become dollars."""
    gpu = Resources(cores=0, gpus=1, gpu_type="rtx-4090")
    half = Utilisation(gpu_busy=Decimal("0.5"))
    day = datetime(2026, 6, 1, 12, tzinfo=BERLIN)
    hour = timedelta(hours=1)
    dollars = Fraction("1.25")
    energy = (Fraction(400 + 20, 2) / 1000) * Fraction("0.32")
    cost = bill([attempt(0, day, day + hour, resources=gpu, utilisation=half)], owned_card)
    assert cost.usd == (energy + Fraction("0.12")) * dollars
    night = bill(
        [attempt(0, day + 12 * hour, day + 13 * hour, resources=gpu, utilisation=half)], owned_card
    )
    assert night.usd == (energy / 2 + Fraction("0.12")) * dollars
    idle = (Fraction(20, 2) / 1000 * Fraction("0.32") + Fraction("0.12") / 2) * dollars
    assert cost.lines[0].idle_usd == idle


def test_storage_ignores_bands_spot_and_priority(berlin_card: RateCard) -> None:
    """A GiB-month is 730 hours of one GiB at any time."""
    disk = Resources(cores=0, storage_gib=100)
    cost = estimate(
        disk,
        berlin_card,
        start=datetime(2026, 3, 7, tzinfo=UTC),
        seconds=730 * 3600,
        spot=True,
        priority="urgent",
    )
    assert cost.usd == 100 * Fraction("0.073")


def test_the_json_form_holds_the_whole_breakdown(default_card: RateCard) -> None:
    """Amounts are exact text, attempts can be read back and billed to the same total."""
    cost = estimate(MACHINE, default_card, start=NOON, seconds=Decimal("7200.000001"))
    content = cost.to_json()
    assert content["rate_card"] == default_card.digest
    assert Decimal(content["total_cost_usd"]) == cost.total_cost_usd
    assert sum(Decimal(line["cost_usd"]) for line in content["lines"]) == cost.total_cost_usd
    again = bill([Attempt.from_record(one) for one in content["attempts"]], default_card)
    assert again.usd == cost.usd
    assert set(cost.metrics()) == {
        "duration_seconds",
        "cpu_cost_usd",
        "gpu_cost_usd",
        "memory_cost_usd",
        "storage_cost_usd",
        "total_cost_usd",
        "lost_cost_usd",
        "idle_cost_usd",
    }


def test_no_attempts_cost_nothing(default_card: RateCard) -> None:
    """The bill of nothing is a bill."""
    nothing: Bill = bill([], default_card)
    assert nothing.total_cost_usd == 0
    assert nothing.by_band == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": Resources(cores=1, gpus=1, gpu_type="b300")}, "gpu_type is 'b300'"),
        ({"priority": "asap"}, "priority is 'asap'"),
        ({"start": datetime(2019, 1, 1, tzinfo=UTC)}, "first version is effective 2020-01-01"),
    ],
)
def test_what_the_card_cannot_price_is_refused(
    default_card: RateCard, changes: dict[str, object], message: str
) -> None:
    """Unknown accelerators, priorities and times before the first rates are errors, not zeros."""
    one = attempt(**{"number": 0, "start": NOON, "end": NOON + timedelta(hours=1), **changes})
    with pytest.raises(RatesError, match=message):
        bill([one], default_card)


def test_an_attempt_given_twice_is_refused(default_card: RateCard) -> None:
    """Nothing is charged twice; the same number of another execution is another attempt."""
    one = attempt(0, NOON, NOON + timedelta(hours=1))
    with pytest.raises(ValueError, match="train#0 is given 2 times"):
        bill([one, one], default_card)
    resumed = attempt(0, NOON, NOON + timedelta(hours=1), execution="second")
    assert bill([one, resumed], default_card).usd == 2 * bill([one], default_card).usd

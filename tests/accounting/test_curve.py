"""Price curves: the same answers as bills, fast."""

import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.bill import bill
from accounting.curve import PriceCurve
from accounting.rates import RateCard
from accounting.usage import Attempt, Resources

START = datetime(2026, 3, 20, 7, 13, tzinfo=UTC)
YEAR = timedelta(days=365)
MACHINE = Resources(cores=4, memory_gib=16, gpus=1, gpu_type="t4")


@pytest.fixture(scope="module")
def curve(berlin_card: RateCard) -> PriceCurve:
    """A year of spot prices over clock changes and new rates."""
    return PriceCurve.of(berlin_card, MACHINE, start=START, end=START + YEAR, spot=True)


offsets = st.timedeltas(timedelta(0), YEAR)


@given(one=offsets, other=offsets)
@settings(max_examples=80, deadline=None)
def test_a_curve_costs_what_the_bill_says(
    curve: PriceCurve, berlin_card: RateCard, one: timedelta, other: timedelta
) -> None:
    """Any interval of the curve costs exactly what an attempt of that length is billed."""
    low, high = START + min(one, other), START + max(one, other)
    attempt = Attempt(task="train", number=0, start=low, end=high, resources=MACHINE, spot=True)
    assert curve.usd(low, high) == bill([attempt], berlin_card).usd


@given(offset=offsets, cents=st.integers(1, 20_000))
@settings(max_examples=80, deadline=None)
def test_money_is_gone_at_the_microsecond_it_is_spent(
    curve: PriceCurve, offset: timedelta, cents: int
) -> None:
    """Up to the answer at most the money is spent, a microsecond later at least the money."""
    low, money = START + offset, Fraction(cents, 100)
    at = curve.when_spent(money, start=low)
    if at is None:
        assert curve.usd(low, curve.end) < money
        return
    assert curve.usd(low, at) <= money
    later = at + timedelta(microseconds=1)
    assert later > curve.end or curve.usd(low, later) > money


def test_free_hours_do_not_use_up_money(read_card: object) -> None:
    """Across a band at multiplier 0 the money lasts, and it is gone before the band, not after."""
    card = read_card(
        "currency: USD\ntimezone: UTC\nversions:\n  - effective: 2020-01-01\n"
        "    prices: {core_hour: {price: 1, source: list, date: 2026-01-01}}\n"
        "    bands:\n"
        "      - {name: free, multiplier: 0, when: {hours: 22:00-06:00}}\n"
        "      - {name: paid, multiplier: 1, when: otherwise}\n"
    )
    evening = datetime(2026, 3, 4, 20, tzinfo=UTC)
    core = PriceCurve.of(card, Resources(cores=1), start=evening, end=evening + YEAR)
    assert core.when_spent(Fraction(2), start=evening) == evening + timedelta(hours=2)
    assert core.when_spent(Fraction(3), start=evening) == evening + timedelta(hours=11)
    assert core.when_spent(Fraction(0), start=evening) == evening
    assert core.band(evening + timedelta(hours=3)) == "free"
    assert core.usd_per_hour(evening) == 1


def test_ten_thousand_intervals_are_priced_in_under_a_second(curve: PriceCurve) -> None:
    """Planning asks for many starts; each is a search and a subtraction."""
    begun = time.perf_counter()
    for minute in range(10_000):
        low = START + timedelta(minutes=50 * minute)
        curve.usd(low, low + timedelta(days=9))
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("low", "high"),
    [(timedelta(hours=2), timedelta(hours=1)), (timedelta(-1), timedelta(1)), (YEAR, 2 * YEAR)],
)
def test_intervals_off_the_curve_are_refused(
    curve: PriceCurve, low: timedelta, high: timedelta
) -> None:
    """Negative intervals and those that leave the prepared time are errors."""
    with pytest.raises(ValueError, match="is no interval within the curve"):
        curve.usd(START + low, START + high)
    with pytest.raises(ValueError, match=r"end is .*, not after"):
        PriceCurve.of(curve_card(), MACHINE, start=START, end=START)


def curve_card() -> RateCard:
    """The embedded card."""
    return RateCard.load()

"""Rate cards: what they say, and that a bad one is refused with its line and field."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from accounting.ratecard import EMBEDDED
from accounting.ratefile import RateCardError
from accounting.rates import RateCard, RatesError
from accounting.usage import Resources

ReadCard = Callable[[str], RateCard]
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)

GOOD = """\
currency: USD
timezone: UTC
versions:
  - effective: 2026-01-01
    prices:
      core_hour: {price: 0.05, source: list, date: 2026-01-01}
    bands:
      - name: night
        multiplier: 0.5
        when:
          - hours: 22:00-06:00
            days: mon-fri
      - {name: day, multiplier: 1, when: otherwise}
"""


def test_the_embedded_card_is_the_reference(default_card: RateCard) -> None:
    """GPU 0.25, core 0.05, nights and weekends half, spot 0.3, urgent 1.5, background 0.8."""
    rates = default_card.rates_at(NOON)
    assert rates.core.busy == Fraction("0.05")
    assert rates.gpus["generic"].busy == Fraction("0.25")
    assert rates.spot == Fraction("0.3")
    assert rates.priorities == {
        "urgent": Fraction("1.5"),
        "normal": 1,
        "background": Fraction("0.8"),
    }
    for moment, multiplier in (
        ("2026-03-04T21:59", 1),
        ("2026-03-04T22:00", Fraction(1, 2)),
        ("2026-03-05T05:59", Fraction(1, 2)),
        ("2026-03-05T06:00", 1),
        ("2026-03-07T12:00", Fraction(1, 2)),
        ("2026-03-08T12:00", Fraction(1, 2)),
    ):
        at = datetime.fromisoformat(f"{moment}+00:00")
        assert default_card.band_at(at).multiplier == multiplier


def test_every_price_has_a_source_and_a_date(default_card: RateCard) -> None:
    """A reader of the card can check each of its numbers."""
    quotes = default_card.rates_at(NOON).quotes
    assert len(quotes) == 3 + len(default_card.rates_at(NOON).gpus)
    assert all(quote.source and quote.date.year >= 2020 for quote in quotes)


def test_a_version_states_only_what_it_changes(berlin_card: RateCard) -> None:
    """Later versions keep the prices, bands and factors that they do not name."""
    first, second = berlin_card.versions
    assert (first.core.busy, second.core.busy) == (Fraction("0.04"), Fraction("0.05"))
    assert (first.spot, second.spot) == (Fraction("0.3"), Fraction("0.25"))
    assert second.gpus == first.gpus
    assert second.tariff.bands == first.tariff.bands
    assert berlin_card.rates_at(datetime(2026, 6, 30, 21, 59, tzinfo=UTC)) is first
    assert berlin_card.rates_at(datetime(2026, 6, 30, 22, 0, tzinfo=UTC)) is second


def test_a_later_version_can_replace_a_price_by_owned_hardware(read_card: ReadCard) -> None:
    """Who buys a machine changes from a price list to electricity and a write-off, and back."""
    card = read_card(
        GOOD
        + """\
  - effective: 2026-07-01
    owned:
      electricity: {per_kwh: 0.3, source: contract, date: 2026-07-01}
      core: {idle_watts: 2, busy_watts: 10, write_off_per_hour: 0.01, source: a, date: 2026-07-01}
  - effective: 2027-01-01
    prices:
      core_hour: {price: 0.04, source: list, date: 2027-01-01}
"""
    )
    prices = [
        card.usd_per_hour(Resources(cores=1), at=datetime(year, month, 4, 12, tzinfo=UTC))
        for year, month in ((2026, 3), (2026, 8), (2027, 3))
    ]
    assert prices == [Fraction("0.05"), Fraction("0.013"), Fraction("0.04")]


def test_factors_that_a_card_leaves_out_are_neutral(read_card: ReadCard) -> None:
    """Without spot and priority nothing is cheaper or dearer."""
    card = read_card(GOOD)
    core = Resources(cores=1)
    for priority in ("urgent", "normal", "background"):
        price = card.usd_per_hour(core, at=NOON, spot=True, priority=priority)
        assert price == Fraction("0.05")


def test_the_digest_identifies_what_a_card_says(read_card: ReadCard) -> None:
    """Comments and layout do not change it, a price does."""
    card = read_card(GOOD)
    laid_out = GOOD.replace("{name: day, ", "{name: 'day',   ")
    assert read_card("# hello\n" + laid_out).digest == card.digest
    assert read_card(GOOD.replace("0.05", "0.06")).digest != card.digest
    assert len(card.digest) == 64


def test_entries_can_be_shared(read_card: ReadCard) -> None:
    """YAML anchors and merge keys work, so a source is written once."""
    shared = GOOD.replace("core_hour: {", "core_hour: &list {").replace(
        "    bands:", "      memory_gib_hour: {<<: *list, price: 0.01}\n    bands:"
    )
    card = read_card(shared)
    assert card.rates_at(NOON).memory_gib.busy == Fraction("0.01")
    assert {quote.source for quote in card.versions[0].quotes} == {"list"}


def test_numbers_keep_the_digits_that_were_typed(read_card: ReadCard) -> None:
    """A price never passes through binary floating point."""
    card = read_card(GOOD.replace("0.05", "0.10000000000000000001"))
    assert card.versions[0].quotes[0].amount == Decimal("0.10000000000000000001")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("currency: USD", "", "rates.yaml:2: the card has no currency; add it"),
        ("USD", "dollars", "rates.yaml:1: currency is 'dollars'; give an ISO 4217 code"),
        ("USD", "EUR", "rates.yaml:4: versions[0] has no usd_per_unit, and bills are in USD"),
        ("UTC", "Mars/Olympus", "rates.yaml:2: timezone is 'Mars/Olympus'; give an IANA time zone"),
        ("2026-01-01\n", "soon\n", "rates.yaml:4: versions[0].effective is 'soon'; give a date"),
        ("price: 0.05", "price: cheap", "rates.yaml:6: versions[0].prices.core_hour.price is"),
        ("price: 0.05", "price: -1", "is '-1'; give a number of at least 0, such as 0.05"),
        ("price: 0.05, ", "", "rates.yaml:6: versions[0].prices.core_hour has no price; add it"),
        ("source: list, ", "", "versions[0].prices.core_hour has no source; add it"),
        ("core_hour", "core_hours", "prices.core_hours is no field of a rate card; did you mean"),
        ("multiplier: 0.5", "multiplier: half", "rates.yaml:9: versions[0].bands[0].multiplier"),
        ("22:00-06:00", "22-6", "rates.yaml:11: versions[0].bands[0].when[0].hours is '22-6'"),
        ("22:00-06:00", "22:00-22:00", "it holds no time; for the whole day give 00:00-24:00"),
        ("22:00-06:00", "22:00-25:00", "give times between 00:00 and 24:00"),
        ("mon-fri", "mon-funday", "rates.yaml:12: versions[0].bands[0].when[0].days is"),
        ("days: mon-fri", "season: 02-30..03-01", "give first and last day of the season"),
        ("days: mon-fri", "span: fri 22:00 - mon 06:00", "has a span beside days or hours"),
        ("    bands:", "    bands: []\n    spot: 1\n    x:", "is no field of a rate card"),
        ("      core_hour", "      gpu_hour: 3\n      core_hour", "gpu_hour has no named fields"),
        (
            "      - name: night",
            "      -",
            "rates.yaml:9: versions[0].bands[0] has no name; add it",
        ),
        ("versions:", "versions: [", "rates.yaml:4: no valid YAML"),
        (
            "    bands:",
            "    priority: {urgent: 2}\n    bands:",
            "rates.yaml:7: versions[0].priority has no normal; add it",
        ),
        (
            "    bands:",
            "    spot: 0.3\n    spot: 0.4\n    bands:",
            "rates.yaml:8: versions[0].spot is given twice; keep one of them",
        ),
        (
            "    bands:",
            (
                "    owned:\n"
                "      core: {idle_watts: 1, busy_watts: 2, write_off_per_hour: 0, source: a, "
                "date: 2026-01-01}\n    bands:"
            ),
            "owned.core is also priced by versions[0].prices.core_hour; keep one of them",
        ),
        (
            "    bands:",
            (
                "    owned:\n"
                "      gpu: {t4: {idle_watts: 1, busy_watts: 2, write_off_per_hour: 0, source: a, "
                "date: 2026-01-01}}\n    bands:"
            ),
            "needs owned.electricity.per_kwh; add it",
        ),
    ],
)
def test_a_bad_card_is_refused_with_line_and_field(
    read_card: ReadCard, old: str, new: str, complaint: str
) -> None:
    """Each mistake gives one line that says where it is and how to mend it."""
    assert old in GOOD
    with pytest.raises(RateCardError) as refused:
        read_card(GOOD.replace(old, new, 1))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_versions_out_of_order_are_refused(read_card: ReadCard) -> None:
    """Each version begins after the one before it."""
    with pytest.raises(RateCardError, match=r"rates.yaml:14: .*not after the version before it"):
        read_card(GOOD + "  - effective: 2026-01-01\n")


def test_a_card_whose_idle_hardware_draws_more_is_refused(read_card: ReadCard) -> None:
    """Idle watts above busy watts are a mistake."""
    text = GOOD.replace(
        "      core_hour: {price: 0.05, source: list, date: 2026-01-01}",
        "      memory_gib_hour: {price: 0, source: list, date: 2026-01-01}\n"
        "    owned:\n"
        "      electricity: {per_kwh: 0.3, source: list, date: 2026-01-01}\n"
        "      core: {idle_watts: 9, busy_watts: 2, write_off_per_hour: 0, source: a, "
        "date: 2026-01-01}",
    )
    with pytest.raises(RateCardError, match=r"rates.yaml:9: .*idle_watts is above busy_watts"):
        read_card(text)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A wrong path names the file and the setting."""
    with pytest.raises(
        RateCardError, match=r"none\.yaml: the rate card cannot be read.*OPPEN_RATES"
    ):
        RateCard.load(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(RateCardError, match="the card is empty"):
        RateCard.load(tmp_path / "empty.yaml")


def test_a_copy_of_the_embedded_card_says_the_same(tmp_path: Path, default_card: RateCard) -> None:
    """Copy, change and point OPPEN_RATES at it: the copy alone changes nothing."""
    copy = tmp_path / "rates.yaml"
    copy.write_text(EMBEDDED.read_text())
    assert RateCard.load(copy).digest == default_card.digest


def test_unknown_names_are_refused(default_card: RateCard) -> None:
    """An accelerator or a moment without a price is an error that names what there is."""
    with pytest.raises(
        RatesError, match=r"gpu_type is 'b300'.*use one of a100, a100-80gb, generic"
    ):
        default_card.usd_per_hour(Resources(cores=1, gpus=1, gpu_type="b300"), at=NOON)
    with pytest.raises(ValueError, match="without a time zone"):
        default_card.rates_at(datetime(2026, 3, 4))  # noqa: DTZ001 - that is the point
    with pytest.raises(RatesError, match="no rates are in force at 2019"):
        default_card.band_at(datetime(2019, 3, 4, tzinfo=UTC))

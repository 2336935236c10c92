"""The bill as a picture and tables."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from accounting.bill import bill
from accounting.bill_html import bill_html
from accounting.rates import RateCard
from accounting.usage import Attempt, Outcome, Purchase, Resources

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def attempt(number: int, outcome: Outcome, asked: Purchase | None = None) -> Attempt:
    """Half an hour from `number` hours after noon."""
    start = NOON + timedelta(hours=number)
    return Attempt(
        task="<train>",
        number=number,
        start=start,
        end=start + timedelta(minutes=30),
        resources=Resources(cores=4, gpus=1),
        outcome=outcome,
        asked=asked,
    )


def test_the_page_shows_total_attempts_and_lost_work_and_stays_offline() -> None:
    """The fragment names every attempt and the lost money, escapes text, and loads nothing."""
    total = bill([attempt(0, "killed", asked="spot"), attempt(1, "succeeded")], RateCard.load())
    page = bill_html(total)
    HTMLParser().feed(page)
    assert str(total.total_cost_usd) in page
    assert f"Lost to broken attempts: {total.lost_cost_usd} USD" in page
    assert total.lost_cost_usd > 0
    assert "asked for spot, was on-demand" in page
    assert "&lt;train&gt;#1" in page
    assert "<train>" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert len(page) < 300_000


def test_a_bill_without_attempts_is_drawn_as_nothing() -> None:
    """A run that never trained has a page with a total of zero and no chart."""
    page = bill_html(bill([], RateCard.load()))
    assert "0.000000 USD for 0.0 s" in page
    assert "<svg" not in page

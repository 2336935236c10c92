"""Rate cards that the accounting tests share."""

from collections.abc import Callable

import pytest

from accounting.ratecard import parse_card
from accounting.rates import RateCard

SOURCED = 'source: "a price list", date: 2026-01-01'

BERLIN = f"""
currency: USD
timezone: Europe/Berlin
versions:
  - effective: 2019-12-30
    prices:
      core_hour: {{price: 0.04, {SOURCED}}}
      memory_gib_hour: {{price: 0.005, {SOURCED}}}
      storage_gib_month: {{price: 0.073, {SOURCED}}}
      gpu_hour:
        generic: {{price: 0.3, {SOURCED}}}
        t4: {{price: 0.2, {SOURCED}}}
    bands:
      - {{name: weekend, multiplier: 0.3, when: {{span: fri 20:00 - mon 05:00}}}}
      - {{name: night, multiplier: 0.6, when: {{days: mon-thu, hours: 22:00-05:00}}}}
      - name: winter-noon
        multiplier: 1.7
        when: {{days: mon-fri, hours: 11:00-13:30, season: 11-15..02-29}}
      - {{name: day, multiplier: 1, when: otherwise}}
    spot: 0.3
    priority: {{urgent: 1.5, normal: 1, background: 0.8}}
  - effective: 2026-07-01
    prices:
      core_hour: {{price: 0.05, {SOURCED}}}
    spot: 0.25
"""

OWNED = f"""
currency: EUR
timezone: Europe/Berlin
versions:
  - effective: 2020-01-01
    usd_per_unit: {{price: 1.25, {SOURCED}}}
    owned:
      electricity: {{per_kwh: 0.32, {SOURCED}}}
      core: {{idle_watts: 2, busy_watts: 10, write_off_per_hour: 0.004, {SOURCED}}}
      gpu:
        rtx-4090: {{idle_watts: 20, busy_watts: 400, write_off_per_hour: 0.12, {SOURCED}}}
    bands:
      - {{name: night, multiplier: 0.5, when: {{hours: 22:00-06:00}}}}
      - {{name: day, multiplier: 1, when: otherwise}}
"""


@pytest.fixture(scope="session")
def default_card() -> RateCard:
    """The embedded card."""
    return RateCard.load()


@pytest.fixture(scope="session")
def read_card() -> Callable[[str], RateCard]:
    """Reads a card from text, as a file called rates.yaml."""

    def read(text: str) -> RateCard:
        return parse_card(text, name="rates.yaml", file="rates.yaml")

    return read


@pytest.fixture(scope="session")
def berlin_card(read_card: Callable[[str], RateCard]) -> RateCard:
    """Two versions of week-crossing, overnight and seasonal bands in a zone that moves clocks."""
    return read_card(BERLIN)


@pytest.fixture(scope="session")
def owned_card(read_card: Callable[[str], RateCard]) -> RateCard:
    """Owned hardware, in euros."""
    return read_card(OWNED)

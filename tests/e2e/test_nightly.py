"""`nightly_mnist_pipeline`: late and expensive kickoffs are skipped, a fresh cheap one trains."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stores.settings import Settings
from tasks.records import Summary
from tests.e2e.chain import short
from tests.e2e.runs import runs_of, versions_of
from workflows.nightly import nightly_mnist_pipeline


@pytest.fixture
def at_any_hour(tmp_path: Path, here: pytest.MonkeyPatch) -> Path:
    """A rate card whose only band costs half, at any hour."""
    from accounting import rates

    embedded = Path(rates.__file__).with_name("rates.yaml").read_text(encoding="utf-8")
    head, _, tail = embedded.partition("    bands:\n")
    _, _, rest = tail.partition("        when: otherwise\n")
    bands = "    bands:\n      - {name: night, multiplier: 0.5, when: otherwise}\n"
    card = tmp_path / "rates.yaml"
    card.write_text(head + bands + rest, encoding="utf-8")
    here.setenv("OPPEN_RATES", str(card))
    return card


def fire(
    here: pytest.MonkeyPatch, digits: Path, *, name: str, ago: timedelta, **terms: object
) -> Summary:
    """Fires the workflow as the scheduler does."""
    here.setenv("OPPEN_EXECUTION_ID", name)
    summary: Summary = nightly_mnist_pipeline(
        kickoff_time=datetime.now(UTC) - ago,
        dataset=str(digits),
        config=short(epochs=8),
        model_name=name,
        min_accuracy=0.5,
        **terms,
    ).summary
    return summary


@pytest.mark.usefixtures("at_any_hour")
def test_a_stale_kickoff_is_skipped(
    here: pytest.MonkeyPatch, digits: Path, settings: Settings, unique: str
) -> None:
    """A slot that fires three hours late ends at once and says so."""
    summary = fire(here, digits, name=unique, ago=timedelta(hours=3))
    assert summary.status.startswith("skipped: stale: fired ")
    assert versions_of(settings, unique) == []


@pytest.mark.usefixtures("at_any_hour")
def test_a_kickoff_in_an_expensive_band_is_skipped(
    here: pytest.MonkeyPatch, digits: Path, settings: Settings, unique: str
) -> None:
    """A slot whose band costs more than it may ends at once and names the band."""
    summary = fire(here, digits, name=unique, ago=timedelta(0), max_multiplier=0.4)
    assert summary.status == "skipped: outside the window: the band is 'night' (x0.5)"
    assert versions_of(settings, unique) == []


@pytest.mark.slow
@pytest.mark.usefixtures("at_any_hour")
def test_a_fresh_kickoff_in_a_cheap_band_trains(
    here: pytest.MonkeyPatch, digits: Path, settings: Settings, unique: str
) -> None:
    """The whole pipeline runs, billed in that band and by the plan's priority."""
    summary = fire(here, digits, name=unique, ago=timedelta(minutes=5))
    assert summary.status == "completed"
    assert summary.alias == "challenger+champion"
    (run,) = [run for run in runs_of(settings, "mnist") if run["tags"]["oppen.model"] == unique]
    assert run["tags"]["oppen.priority"] == "background"
    assert '"by_band":{"night":' in run["tags"]["oppen.cost"]

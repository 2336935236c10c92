"""The terms of a run: what the gate refuses before anything is asked for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from accounting.rates import RateCard
from stores.settings import Settings
from stores.tracking import open_run
from tasks.execution import Execution
from tasks.opening import check_terms, code_commit, stopped_run
from tasks.records import Terms

CARD = RateCard.load()


def test_the_defaults_are_fine() -> None:
    """No budget, no deadline: nothing to refuse."""
    assert check_terms(Terms(), CARD) is None


def test_a_deadline_ahead_is_read_with_its_offset() -> None:
    """It comes back in UTC."""
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    text = ahead.astimezone().isoformat()
    assert check_terms(Terms(deadline=text), CARD) == ahead


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("budget_usd", 0.0, "budget_usd is 0.0"),
        ("budget_usd", float("nan"), "budget_usd is nan"),
        ("checkpoint_seconds", -1.0, "checkpoint_seconds is -1.0"),
        ("over_budget", "", "over_budget is ''"),
        ("purchase", "reserved", "purchase is 'reserved'; give on-demand or spot"),
        ("priority", "vip", "priority is 'vip'"),
        ("deadline", "2099-01-01", "deadline is "),
        ("deadline", "2020-01-01T00:00+00:00", "which is past"),
    ],
)
def test_a_term_that_makes_no_sense_is_refused(field: str, value: object, message: str) -> None:
    """One line names the field, the value and the mend."""
    with pytest.raises(ValueError, match=message) as caught:
        check_terms(replace(Terms(), **{field: value}), CARD)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("environment")
def test_a_run_without_a_checkpoint_cannot_be_resumed(settings: Settings) -> None:
    """One line names the input, what is missing and the mend; so it does for no run at all."""
    open_run(settings, experiment="opening", execution="ended", name="ended")
    with pytest.raises(ValueError, match=r"resume_from is 'ended'.* has no files .*; give an exec"):
        stopped_run(settings, "ended", CARD)
    with pytest.raises(ValueError, match=r"resume_from is 'nobody'.* has no run .*; give an exec"):
        stopped_run(settings, "nobody", CARD)


def test_the_commit_on_a_cluster_is_the_registered_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pod has no git folder; the version it was registered under is the commit."""
    monkeypatch.setenv("FLYTE_INTERNAL_VERSION", "0123abc")
    assert code_commit(Execution(name="f1", attempt=0, on_cluster=True)) == "0123abc"

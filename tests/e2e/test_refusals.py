"""Bad inputs: each is refused with one clear line before training, and leaves nothing behind."""

from pathlib import Path

import pytest

from stores.settings import Settings
from tests.e2e.chain import short
from tests.e2e.runs import objects_of, runs_of, versions_of
from workflows.mnist import mnist_pipeline

CASES = {
    "budget-zero": ({"budget_usd": 0.0}, "budget_usd is 0.0; give more than 0"),
    "budget-negative": ({"budget_usd": -1.0}, "budget_usd is -1.0; give more than 0"),
    "budget-nan": ({"budget_usd": float("nan")}, "budget_usd is nan; give more than 0"),
    "over-budget": ({"over_budget": "maybe"}, "over_budget is 'maybe'; give refuse or train"),
    "priority": ({"priority": "vip"}, "priority is 'vip'"),
    "purchase": ({"purchase": "stolen"}, "purchase is 'stolen'; give on-demand or spot"),
    "deadline-naive": ({"deadline": "2099-01-01T00:00:00"}, "deadline is "),
    "deadline-past": ({"deadline": "2020-01-01T00:00:00+00:00"}, "which is past"),
    "deadline-words": ({"deadline": "tomorrow"}, "deadline is 'tomorrow'"),
    "dataset": ({"dataset": "cifar-11"}, "'cifar-11', which is neither a folder nor a known name"),
    "min-accuracy": ({"min_accuracy": 1.5}, "min_accuracy is 1.5; give a fraction from 0 to 1"),
    "resume-from": ({"resume_from": "nobody"}, "resume_from is 'nobody', which cannot be resumed"),
    "checkpoints": ({"checkpoint_seconds": 0.0}, "checkpoint_seconds is 0.0; give more than 0"),
}
MISSING = ("MLFLOW_TRACKING_URI", "OPPEN_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def refusal(digits: Path, name: str, **inputs: object) -> str:
    """Runs the pipeline, which must fail, and returns the last line of its error."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Flyte wraps some and not others
        mnist_pipeline(
            **{
                "dataset": str(digits),
                "config": short(epochs=1),
                "model_name": name,
                "experiment": name,
                **inputs,
            }
        )
    return str(caught.value).rstrip().splitlines()[-1]


def nothing_exists(settings: Settings, name: str) -> bool:
    """Says whether no run, no version and no object has the name."""
    return not (
        runs_of(settings, name) or versions_of(settings, name) or objects_of(settings, name)
    )


@pytest.mark.parametrize(("inputs", "message"), CASES.values(), ids=CASES.keys())
def test_bad_inputs_are_refused(
    here: pytest.MonkeyPatch,
    digits: Path,
    settings: Settings,
    unique: str,
    inputs: dict[str, object],
    message: str,
) -> None:
    """The line names the input and its value; no run, no version and no object exists after."""
    here.setenv("OPPEN_EXECUTION_ID", unique)
    assert message in refusal(digits, unique, **inputs)
    assert nothing_exists(settings, unique)


@pytest.mark.parametrize("variable", MISSING)
def test_missing_settings_are_refused(
    here: pytest.MonkeyPatch,
    monkeypatch: pytest.MonkeyPatch,
    digits: Path,
    settings: Settings,
    unique: str,
    variable: str,
) -> None:
    """What is missing is named before training, and so is the mend."""
    here.setenv("OPPEN_EXECUTION_ID", unique)
    monkeypatch.delenv(variable)
    assert f"{variable} is not set: export it" in refusal(digits, unique)
    assert nothing_exists(settings, unique)

"""Every pipeline refuses bad terms before it looks at anything else."""

from collections.abc import Callable
from typing import Any

import pytest

from stores.settings import SettingsError
from tasks.agree_terms import agree_terms
from tasks.records import Terms
from workflows.agent import agent_training_pipeline, retrain_if_needed
from workflows.language_model import language_model_ddp_pipeline, language_model_pipeline
from workflows.mnist import mnist_ddp_pipeline, mnist_multinode_pipeline, mnist_pipeline

TERMS = {
    "budget_usd": None,
    "over_budget": "refuse",
    "deadline": "",
    "priority": "normal",
    "purchase": "on-demand",
    "resume_from": "",
    "checkpoint_seconds": 60.0,
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are complete; nobody listens there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OPPEN_S3_ENDPOINT", "http://127.0.0.1:1")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("pipeline", "unread"),
    [
        (mnist_pipeline, {"dataset": "no-such-images"}),
        (mnist_ddp_pipeline, {"dataset": "no-such-images"}),
        (mnist_multinode_pipeline, {"dataset": "no-such-images"}),
        (language_model_pipeline, {"source": "no-such-text"}),
        (language_model_ddp_pipeline, {"source": "no-such-text"}),
        (agent_training_pipeline, {"agent_name": "no-such-agent"}),
        (retrain_if_needed, {"agent_name": "no-such-agent"}),
    ],
)
def test_terms_come_first(pipeline: Callable[..., Any], unread: dict[str, str]) -> None:
    """Of two mistakes the one in the terms is named: the data was not looked at."""
    with pytest.raises(ValueError, match="priority is 'vip'"):
        pipeline(priority="vip", **unread)


@pytest.mark.usefixtures("keys")
def test_terms_are_passed_on() -> None:
    """What was given comes back as a record; no server is asked."""
    given = {**TERMS, "budget_usd": 1.5, "over_budget": "train", "checkpoint_seconds": 5.0}
    assert agree_terms(**given) == Terms(**given)


@pytest.mark.usefixtures("keys")
def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be needed only after training."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY"):
        agree_terms(**TERMS)


@pytest.mark.usefixtures("environment")
def test_an_execution_that_nobody_ran_is_not_resumed() -> None:
    """The name is looked up before anything is prepared."""
    with pytest.raises(ValueError, match=r"resume_from is 'nobody'.* has no run .*; give an exec"):
        agree_terms(**{**TERMS, "resume_from": "nobody"})

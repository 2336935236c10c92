"""Scheduled runs: the same pipelines behind a check of the hour."""

from datetime import datetime

from flytekit import conditional, workflow

from tasks.records import Outcome
from tasks.window import check_window, skip_run
from training.classifier_config import ClassifierConfig
from workflows.mnist import DEFAULTS, mnist_pipeline


@workflow
def nightly_mnist_pipeline(
    kickoff_time: datetime,
    dataset: str = "mnist",
    config: ClassifierConfig = DEFAULTS,
    model_name: str = "mnist-cnn",
    min_accuracy: float = 0.98,
    budget_usd: float | None = None,
    deadline: str = "",
    priority: str = "background",
    purchase: str = "on-demand",
    max_delay_minutes: int = 60,
    max_multiplier: float = 0.5,
) -> Outcome:
    """Trains if the kickoff is fresh and the band is cheap; otherwise says why not."""
    # Skip what the scheduler fires late, and what falls into an expensive band.
    window = check_window(
        kickoff_time=kickoff_time,
        max_delay_minutes=max_delay_minutes,
        max_multiplier=max_multiplier,
    )
    # Train, or end with the reason.
    outcome = (
        conditional("window")
        .if_(window.is_open.is_true())
        .then(
            mnist_pipeline(
                dataset=dataset,
                config=config,
                model_name=model_name,
                min_accuracy=min_accuracy,
                budget_usd=budget_usd,
                deadline=deadline,
                priority=priority,
                purchase=purchase,
            )
        )
        .else_()
        .then(skip_run(reason=window.reason))
    )
    # Flyte unpacks a branch's only output, so `outcome` is the summary itself.
    return Outcome(summary=outcome)

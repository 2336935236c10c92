"""Nightly training in the off-peak band.

Schedules are in UTC: Flyte's cron has no time zone, and the scheduler runs with `useUTCTz`. In a
zone with daylight saving the local hour of a slot moves by one, so a slot keeps an hour of distance
from both ends of its band. `check_window` compares the card's tariff with the clock all the same.

A schedule cannot make an execution interruptible, so these runs buy on demand and say so; `oppen
launch nightly-mnist --purchase spot` starts the same plan on spot nodes.
"""

from flytekit import CronSchedule, LaunchPlan
from flytekit.models.common import Annotations, Labels
from flytekit.models.concurrency import ConcurrencyLimitBehavior, ConcurrencyPolicy

from workflows.nightly import nightly_mnist_pipeline

KICKOFF = "kickoff_time"
ONE_AT_A_TIME = ConcurrencyPolicy(max_concurrency=1, behavior=ConcurrencyLimitBehavior.SKIP)


def queue_labels(queue: str, priority: str) -> Labels:
    """Labels that reach the pods and tell Kueue where to queue them and how urgent they are."""
    return Labels({"kueue.x-k8s.io/queue-name": queue, "kueue.x-k8s.io/priority-class": priority})


BACKGROUND = queue_labels("background", "background")
NORMAL = queue_labels("general", "normal")

nightly_mnist = LaunchPlan.get_or_create(
    workflow=nightly_mnist_pipeline,
    name="nightly-mnist",
    fixed_inputs={"dataset": "mnist", "priority": "background"},
    default_inputs={"purchase": "on-demand"},
    schedule=CronSchedule(schedule="0 1 * * *", kickoff_time_input_arg=KICKOFF),
    concurrency=ONE_AT_A_TIME,
    labels=BACKGROUND,
    annotations=Annotations({"oppen/tariff": "off-peak"}),
    max_parallelism=2,
)
"""Every night at 01:00 UTC."""

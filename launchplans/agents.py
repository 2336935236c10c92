"""Weekly retraining of every agent that has a folder under `agents/`, at the hour its file says.

Schedules are in UTC; see `launchplans.nightly` for what that means. A folder that is removed takes
its plan out of the code, and `oppen register` deactivates it on the cluster. Tuning needs more
memory than the background quota has, so these runs go to the general queue.
"""

from pathlib import Path

from flytekit import CronSchedule, LaunchPlan
from flytekit.models.common import Annotations

from launchplans.nightly import KICKOFF, NORMAL, ONE_AT_A_TIME
from training.agent_config import read_training
from workflows.agent import weekly_retraining

AGENTS = Path(__file__).resolve().parents[1] / "agents"


def weekly_plan(folder: Path) -> LaunchPlan:
    """Makes the plan of one agent."""
    config = read_training(folder)
    return LaunchPlan.get_or_create(
        workflow=weekly_retraining,
        name=f"weekly-{config.agent_name}",
        fixed_inputs={"agent_name": config.agent_name, "priority": "normal"},
        default_inputs={"force_retrain": False, "purchase": "on-demand"},
        schedule=CronSchedule(schedule=config.schedule, kickoff_time_input_arg=KICKOFF),
        concurrency=ONE_AT_A_TIME,
        labels=NORMAL,
        annotations=Annotations({"oppen/tariff": "off-peak"}),
        max_parallelism=2,
    )


weekly_agents = {
    folder.name: weekly_plan(folder)
    for folder in sorted(AGENTS.iterdir())
    if (folder / "training.yaml").is_file()
}
"""The plans by agent."""

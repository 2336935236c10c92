"""The monthly cost report, written in the off-peak band; see `launchplans.nightly` for the clock.

It runs on the second of the month, when runs that began on the last evening have been billed. A
slot that fires late still reports its own month, so nothing is skipped after a downtime.
"""

from flytekit import CronSchedule, LaunchPlan
from flytekit.models.common import Annotations

from launchplans.nightly import BACKGROUND, KICKOFF, ONE_AT_A_TIME
from workflows.cost_report import monthly_cost_report

cost_report = LaunchPlan.get_or_create(
    workflow=monthly_cost_report,
    name="monthly-cost-report",
    fixed_inputs={"month": ""},
    schedule=CronSchedule(schedule="30 2 2 * *", kickoff_time_input_arg=KICKOFF),
    concurrency=ONE_AT_A_TIME,
    labels=BACKGROUND,
    annotations=Annotations({"oppen/tariff": "off-peak"}),
    max_parallelism=1,
)
"""On the second of every month at 02:30 UTC."""

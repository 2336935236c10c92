"""What training cost in a month, as a page, a table and figures in S3.

pyflyte run workflows/cost_report.py monthly_cost_report --kickoff_time now --month 2026-10
"""

from datetime import datetime
from typing import NamedTuple

from flytekit import workflow

from tasks.cost_report import CostReport, write_cost_report


class Reported(NamedTuple):
    """The named output of the workflow."""

    report: CostReport


@workflow
def monthly_cost_report(kickoff_time: datetime, month: str = "") -> Reported:
    """Reports the month before the kickoff, or the one that is named."""
    # Read the bills of all runs that began in the month, add them up, and keep the result.
    report = write_cost_report(kickoff_time=kickoff_time, month=month)
    return Reported(report=report)

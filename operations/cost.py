"""`oppen cost`: what runs cost, did cost and should cost, without a server where none is needed."""

import typer

from operations.cost_ahead import forecast, plan, recommend
from operations.cost_bills import bill, estimate, rates
from operations.cost_history import compare, report
from operations.cost_options import EXITS

cost_app = typer.Typer(
    name="cost",
    help="What runs cost: estimates, bills, forecasts, plans and reports.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

for command in (estimate, bill, forecast, recommend, plan, report, compare, rates):
    cost_app.command(epilog=EXITS)(command)

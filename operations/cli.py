"""The `oppen` command line: one root, one module per group of commands."""

import typer

from operations.cost import cost_app
from operations.executions import cancel, executions, logs, status
from operations.exits import EXIT_TABLE
from operations.launch import launch
from operations.register import register
from operations.servers import servers_app

app = typer.Typer(
    name="oppen",
    help="Train models on Flyte and know what every run costs.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

for command in (launch, executions, status, logs, cancel, register):
    app.command(epilog=EXIT_TABLE)(command)

app.add_typer(cost_app)
app.add_typer(servers_app)


def main() -> None:
    """Runs the command line; the entry point of the `oppen` script."""
    app()


if __name__ == "__main__":
    main()

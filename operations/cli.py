"""The `oppen` command line: one root, one module per group of commands."""

import typer

from operations.executions import cancel, executions, logs, status
from operations.launch import launch

app = typer.Typer(
    name="oppen",
    help="Train models on Flyte and know what every run costs.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

for command in (launch, executions, status, logs, cancel):
    app.command()(command)


def main() -> None:
    """Runs the command line; the entry point of the `oppen` script."""
    app()


if __name__ == "__main__":
    main()

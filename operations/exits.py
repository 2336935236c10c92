"""Exit codes of the commands that talk to Flyte, and errors as one line on standard error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer


class Exit(IntEnum):
    """What a script reads from `$?`."""

    OK = 0
    """It was done; with `--wait`, the execution succeeded."""

    FAILED = 1
    """The execution that was waited for, or the local run, failed, was aborted or timed out."""

    USAGE = 2
    """An unknown name, input or option, or a value of the wrong type; nothing was started."""

    CONNECTION = 3
    """The endpoint, project, domain or login is wrong, or Flyte did not answer."""

    BUDGET = 4
    """The expected cost or end would break the budget or deadline; nothing was started."""

    STILL_RUNNING = 5
    """The wait was given up, by `--timeout` or from the keyboard; the execution goes on."""


EXIT_TABLE = (
    "Exit codes: 0 done, 1 the execution or compilation failed, 2 wrong name, input or option, "
    "3 endpoint, project, domain or login, 4 budget or deadline would break, "
    "5 still running after `--timeout`."
)


class RemoteError(Exception):
    """Flyte could not be asked, or refused; the message is one line that says how to mend it.

    Args:
        message: one line.
        code: the exit code of a command that ends with it.
    """

    def __init__(self, message: str, *, code: Exit = Exit.CONNECTION) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(RemoteError):  # noqa: N818 - reads better where it is caught
    """Flyte did not answer; it may later."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the command with one line and a documented code when the user or Flyte is at fault."""
    # flytekit logs the failures that it also raises; the line below says them once.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("flytekit").setLevel(logging.CRITICAL)
    try:
        yield
    except RemoteError as error:
        _say(str(error))
        raise typer.Exit(error.code) from error
    except ValueError as error:
        _say(str(error))
        raise typer.Exit(Exit.USAGE) from error


def _say(message: str) -> None:
    typer.echo(f"oppen: {' '.join(message.split())}", err=True)

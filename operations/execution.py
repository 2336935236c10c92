"""One execution on the server: found, its phase, why it failed, its page, and waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from operations.exits import RemoteError, Unreachable
from operations.remote import Flyte

FINISHED = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
"""Phases that nothing follows."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How an execution is waited for."""

    poll_seconds: float
    """Time between two looks."""

    timeout_seconds: float | None
    """After this the wait is given up, or None for never."""

    outage_seconds: float = 300
    """How long the server may be away meanwhile: an upgrade of Flyte is no failed training."""


def find_execution(flyte: Flyte, name: str) -> Any:
    """Looks an execution up by name; a flyteidl Execution, or None."""
    from flyteidl.admin.execution_pb2 import WorkflowExecutionGetRequest
    from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier
    from flytekit.exceptions.user import FlyteEntityNotExistException

    identifier = WorkflowExecutionIdentifier(project=flyte.project, domain=flyte.domain, name=name)
    try:
        with flyte.calls():
            return flyte.admin.get_execution(WorkflowExecutionGetRequest(id=identifier))
    except FlyteEntityNotExistException:
        return None


def phase_name(execution: Any) -> str:
    """Flyte's word for the state of an execution."""
    from flyteidl.core.execution_pb2 import WorkflowExecution

    return str(WorkflowExecution.Phase.Name(execution.closure.phase))


def failure(execution: Any) -> str:
    """Why an execution failed or was aborted, in one line, or ""."""
    closure = execution.closure
    text = closure.error.message or closure.abort_metadata.cause
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def console_address(flyte: Flyte, name: str) -> str:
    """The page of an execution in Flyte's console."""
    from flytekit.models.core.identifier import WorkflowExecutionIdentifier

    where = WorkflowExecutionIdentifier(flyte.project, flyte.domain, name)
    return str(flyte.remote.generate_console_url(where))


def wait_for(flyte: Flyte, name: str, pace: Pace, *, say: Callable[[str], None]) -> Any:
    """Looks at an execution until it ends or the wait is given up; returns it as it was last.

    Args:
        flyte: where it runs.
        name: its name.
        pace: how often to look, and for how long.
        say: is told each phase once, and when the server is away.

    Raises:
        RemoteError: The execution is gone, or the server was away for too long.
    """
    started, shown, last_answer = time.monotonic(), "", time.monotonic()
    while True:
        try:
            execution = find_execution(flyte, name)
        except Unreachable as error:
            if time.monotonic() - last_answer > pace.outage_seconds:
                raise
            state = f"waiting on: {error}"
        else:
            last_answer = time.monotonic()
            if execution is None:
                raise RemoteError(f"execution {name} is gone from {flyte.project}/{flyte.domain}")
            state = phase_name(execution)
        if state != shown:
            say(state)
        shown = state
        if state in FINISHED:
            return execution
        if pace.timeout_seconds is not None and time.monotonic() - started > pace.timeout_seconds:
            return execution
        time.sleep(pace.poll_seconds)

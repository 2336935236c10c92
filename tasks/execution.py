"""Who is running: the execution, its attempt, and whether this is a cluster or one machine.

Flyte tells a pod through its context and environment; an Elastic worker knows neither, which is
why `open_run` reads them once and passes them on as values.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import flytekit


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One workflow execution as seen by the task that asks."""

    name: str
    """Flyte's execution name on a cluster; on one machine `OPPEN_EXECUTION_ID` or a fresh one."""

    attempt: int
    """0 for the first attempt of the asking task."""

    on_cluster: bool
    """False under `pyflyte run` and in tests."""


def current_execution(environ: Mapping[str, str] | None = None) -> Execution:
    """Reads the running execution.

    On one machine Flyte calls every execution "local"; a fresh name keeps two runs apart, and
    `OPPEN_EXECUTION_ID` takes up an earlier one again, as a retry on a cluster would.
    """
    env = os.environ if environ is None else environ
    on_cluster = "FLYTE_INTERNAL_EXECUTION_ID" in env
    if on_cluster:
        name = env["FLYTE_INTERNAL_EXECUTION_ID"]
    else:
        name = env.get("OPPEN_EXECUTION_ID") or f"local-{uuid.uuid4().hex[:12]}"
    return Execution(
        name=name,
        attempt=int(env.get("FLYTE_ATTEMPT_NUMBER", "0")),
        on_cluster=on_cluster,
    )


def working_folder(name: str) -> Path:
    """A fresh folder of this task for its outputs, named for what it holds."""
    folder = Path(flytekit.current_context().working_directory) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder

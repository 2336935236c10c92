"""Carries a loop's checkpoints to where the next attempt finds them.

A loop writes its checkpoints to a folder of its own machine. A restart in the same pod finds them
there; a new pod finds what Flyte kept; a new execution brings its own `resume_from`.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import flytekit
from flytekit.exceptions.user import FlyteDataNotFoundException

from tasks.execution import Execution

SLOTS = 2
"""Checkpoints kept in Flyte's storage: while one is overwritten, the other stays whole."""


def local_folder(run: str) -> Path:
    """The folder of this machine for the checkpoints of the run named `run`."""
    return Path(tempfile.gettempdir()) / "oppen" / "checkpoints" / run


def resume_places(run: str, execution: Execution, resume_from: Path | None) -> list[Path]:
    """Where to look for a checkpoint, in order: this machine, Flyte, then `resume_from`."""
    places = [local_folder(run)]
    if execution.on_cluster:
        places += _kept_by_flyte()
    if resume_from is not None:
        places.append(resume_from)
    return places


def _kept_by_flyte() -> list[Path]:
    """Fetches what the attempt before this one gave to Flyte; nothing if it ended before that."""
    checkpoint = flytekit.current_context().checkpoint
    if checkpoint is None or not checkpoint.prev_exists():
        return []
    try:
        restored = checkpoint.restore(tempfile.mkdtemp(prefix="oppen-flyte-checkpoint-"))
    except FlyteDataNotFoundException:  # Flyte names the place whether or not anything is there
        return []
    return [Path(restored)] if restored else []


def carrier(execution: Execution) -> Callable[[Path], None] | None:
    """What to call with each new checkpoint so that Flyte keeps it, or None on one machine.

    Flyte never removes what it was given; writing to `SLOTS` names in turn bounds the storage.
    """
    checkpoint = flytekit.current_context().checkpoint if execution.on_cluster else None
    if checkpoint is None:
        return None
    written = 0

    def carry(path: Path) -> None:
        nonlocal written
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            slot = Path(folder) / f"slot-{written % SLOTS}{path.suffix}"
            slot.hardlink_to(path)
            checkpoint.save(slot)
        written += 1

    return carry


def forget(run: str) -> None:
    """Removes the local checkpoints of a run that is complete."""
    shutil.rmtree(local_folder(run), ignore_errors=True)

"""The shelf: where one machine keeps prepared data between runs.

On a cluster Flyte uploads every output. On one machine its outputs lie in temporary folders, and a
cached result would point at a folder that a restart has swept away. So prepared data goes to the
shelf, and the shelf's own identity is part of what the cache is keyed by.
"""

import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flytekit.types.directory import FlyteDirectory

from tasks.execution import current_execution, working_folder


@dataclass(frozen=True)
class Shelf:
    """A folder for prepared data that outlives the run."""

    root: Path
    """Its place."""

    @classmethod
    def of_this_machine(cls, environ: Mapping[str, str] | None = None) -> "Shelf":
        """The shelf under `OPPEN_LOCAL`, by default `.local` in the working directory."""
        env = os.environ if environ is None else environ
        return cls(Path(env.get("OPPEN_LOCAL") or ".local").resolve() / "prepared")

    def identity(self) -> str:
        """Names this shelf; a shelf that was thrown away and made anew has another name."""
        mark = self.root / "identity"
        self.root.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            fresh = self.root / f".identity-{uuid.uuid4().hex}"
            fresh.write_text(uuid.uuid4().hex)
            # A link appears whole or not at all; of two processes the first one names the shelf.
            with contextlib.suppress(FileExistsError):
                mark.hardlink_to(fresh)
            fresh.unlink()
        return mark.read_text()


def shelf_identity() -> str:
    """The identity of this machine's shelf, or "" on a cluster, which needs none."""
    if current_execution().on_cluster:
        return ""
    return Shelf.of_this_machine().identity()


def kept_folder(kind: str, key: str) -> Path:
    """Where to write a prepared output: on the shelf, or in the task's folder on a cluster."""
    if current_execution().on_cluster:
        return working_folder(kind)
    return Shelf.of_this_machine().root / kind / key


def as_output(folder: Path) -> FlyteDirectory:
    """Wraps an output folder; one that lies on the shelf stays there instead of being copied."""
    if current_execution().on_cluster:
        return FlyteDirectory(str(folder))
    return FlyteDirectory(str(folder), remote_directory=False)

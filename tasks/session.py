"""What every training task sets up around its loop: ranks, reporter, guard, books, checkpoints."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stores.settings import Settings
from stores.tracking import MlflowReporter
from tasks.attempt import LiveAttempt, billed_attempt
from tasks.checkpoints import carrier, forget, local_folder, resume_places
from tasks.execution import current_execution
from tasks.machines import Machine
from tasks.records import Run
from training.checkpoint import CheckpointConfig
from training.distributed import Ranks, process_group
from training.progress import progress_reporter
from training.reporter import Fanout, Guard, Reporter, Silence, Unlimited


@dataclass
class Session:
    """One rank's side of a training task; ranks other than 0 report, ask and write nothing."""

    ranks: Ranks
    """This process among the others."""

    run: Run
    """What is being trained."""

    resume_from: list[Path]
    """Where to look for a checkpoint besides the local folder: Flyte's, then the run's own."""

    reporter: Reporter = field(default_factory=Silence)
    """MLflow and the progress bar on rank 0."""

    guard: Guard = field(default_factory=Unlimited)
    """The budget and the deadline on rank 0."""

    live: LiveAttempt | None = None
    """The books of this attempt on rank 0."""

    carry: Callable[[Path], None] | None = None
    """Takes a checkpoint to Flyte's storage."""

    last_checkpoint: Path | None = None
    """The newest checkpoint of this attempt."""

    @property
    def checkpoint_folder(self) -> Path:
        """Where this machine keeps the run's checkpoints."""
        return local_folder(self.run.execution)

    @property
    def checkpoint_config(self) -> CheckpointConfig:
        """When checkpoints are written."""
        return CheckpointConfig(every_seconds=self.run.checkpoint_seconds)

    def on_checkpoint(self, path: Path) -> None:
        """Passes a new checkpoint on and notes that work up to now is safe."""
        self.last_checkpoint = path
        if self.carry is not None:
            self.carry(path)
        if self.live is not None:
            self.live.checkpoint_saved()

    def ended(self, status: str) -> None:
        """Notes how the loop ended; the checkpoints of a run that is complete are removed."""
        if self.live is not None:
            self.live.outcome = "stopped" if status == "stopped" else "succeeded"
        if self.ranks.is_main and status != "stopped":
            forget(self.run.execution)


@contextmanager
def training_session(
    run: Run, *, machine: Machine, nodes: int = 1, processes: int = 1, task: str = "train"
) -> Iterator[Session]:
    """Joins the ranks and keeps the books until the block ends.

    Args:
        run: The run, with its terms and where to resume from.
        machine: What each pod holds.
        nodes: Pods.
        processes: Processes in each pod.
        task: Name of the task in the bill.
    """
    execution = current_execution()
    earlier = Path(run.resume_from.download()) if run.resume_from is not None else None
    with process_group() as ranks, ExitStack() as stack:
        session = Session(
            ranks=ranks,
            run=run,
            resume_from=resume_places(run.execution, execution, earlier)[1:],
            carry=carrier(execution),
        )
        if ranks.is_main:
            session.live = stack.enter_context(
                billed_attempt(run, task=task, machine=machine, nodes=nodes, processes=processes)
            )
            session.guard = session.live.guard
            mlflow = MlflowReporter(Settings.from_environment(), run.tracking_run)
            session.reporter = Fanout([mlflow, progress_reporter(sys.stderr)])
        yield session

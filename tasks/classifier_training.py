"""The body of every image training task: the same in one process and on every rank of many."""

from pathlib import Path

from flytekit import Deck
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

from tasks.execution import working_folder
from tasks.machines import Machine
from tasks.records import PreparedImages, Run, Trained
from tasks.session import training_session
from training.classifier import train_classifier
from training.classifier_config import ClassifierConfig
from training.figures import training_curves
from training.image_data import load_images

RESULT_FILE = "result.json"
CURVES_FILE = "curves.html"


def train(
    run: Run,
    images: PreparedImages,
    config: ClassifierConfig,
    *,
    machine: Machine,
    nodes: int = 1,
    processes: int = 1,
) -> Trained:
    """Trains a classifier as one rank among `nodes` x `processes`; rank 0's answer counts.

    Args:
        run: The run, with its terms and where to resume from.
        images: What to train on.
        config: How.
        machine: What each pod holds.
        nodes: Pods.
        processes: Processes in each pod.
    """
    data = load_images(Path(images.folder.download()))
    out = working_folder("model")
    with training_session(run, machine=machine, nodes=nodes, processes=processes) as session:
        result = train_classifier(
            config,
            data,
            out=out,
            ranks=session.ranks,
            checkpoint_folder=session.checkpoint_folder,
            resume_from=session.resume_from,
            checkpoint_config=session.checkpoint_config,
            on_checkpoint=session.on_checkpoint,
            reporter=session.reporter,
            guard=session.guard,
        )
        session.ended(result.status)
    if session.ranks.is_main:
        (out / RESULT_FILE).write_text(result.to_json(), encoding="utf-8")
        if result.history:
            curves = training_curves(result.history)
            (out / CURVES_FILE).write_text(curves, encoding="utf-8")
            Deck("Training", curves)
    is_stopped = result.status == "stopped" and session.last_checkpoint is not None
    return Trained(
        folder=FlyteDirectory(str(out)),
        status=result.status,
        stop_reason=result.stop_reason,
        checkpoint=FlyteFile(str(session.last_checkpoint)) if is_stopped else None,
    )

"""Training of an image classifier in one process."""

from flytekit import task

from tasks.machines import SMALL_GPU
from tasks.records import PreparedImages, Run, Trained
from training.classifier_config import ClassifierConfig


@task(enable_deck=True, **SMALL_GPU.options())
def train_classifier(run: Run, images: PreparedImages, config: ClassifierConfig) -> Trained:
    """Trains on one GPU, or on the CPU where there is none."""
    from tasks.classifier_training import train

    return train(run, images, config, machine=SMALL_GPU)

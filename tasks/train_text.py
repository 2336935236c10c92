"""Training of a language model in one process."""

from flytekit import task

from tasks.hub import HUB_SECRET
from tasks.machines import GPU
from tasks.records import PreparedText, Run, Trained
from training.language_config import LanguageConfig


@task(enable_deck=True, secret_requests=[HUB_SECRET], **GPU.options())
def train_language_model(run: Run, text: PreparedText, config: LanguageConfig) -> Trained:
    """Tunes on one GPU, or on the CPU where there is none."""
    from tasks.language_training import train

    return train(run, text, config, machine=GPU)

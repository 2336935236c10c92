"""Elastic DDP training of a language model on one node."""

from flytekit import task
from flytekitplugins.kfpytorch import Elastic

from tasks.hub import HUB_SECRET
from tasks.machines import GPU_PAIR
from tasks.records import PreparedText, Run, Trained
from tasks.train_image_elastic import PROCESSES, RENDEZVOUS
from training.language_config import LanguageConfig


@task(
    task_config=Elastic(
        nnodes=1,
        nproc_per_node=PROCESSES,
        monitor_interval=1,
        rdzv_configs=RENDEZVOUS,
        increase_shared_mem=False,
    ),
    enable_deck=True,
    secret_requests=[HUB_SECRET],
    **GPU_PAIR.options(),
)
def train_language_model_ddp(run: Run, text: PreparedText, config: LanguageConfig) -> Trained:
    """Tunes with two processes on one node; needs no operator."""
    from tasks.language_training import train

    return train(run, text, config, machine=GPU_PAIR, processes=PROCESSES)

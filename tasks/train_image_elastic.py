"""Elastic DDP training of an image classifier, on one node and on several.

Decorating an Elastic task imports torch.distributed, so these tasks have a module of their own.
One node and several are two tasks: an override of `nnodes` would leave the task type of the first.
"""

import os

from flytekit import task
from flytekitplugins.kfpytorch import CleanPodPolicy, Elastic, RunPolicy

from tasks.machines import GPU_PAIR, SMALL_GPU
from tasks.records import PreparedImages, Run, Trained
from tasks.torch_import import import_torch
from training.classifier_config import ClassifierConfig

PROCESSES = 2
MIN_NODES, MAX_NODES = 1, 4
RENDEZVOUS = {"timeout": 900, "join_timeout": 900, "read_timeout": 900}
"""Seconds to wait for nodes that still pull their image (flytekit#3419)."""


import_torch()


@task(
    task_config=Elastic(
        nnodes=1,
        nproc_per_node=PROCESSES,
        monitor_interval=1,
        rdzv_configs=RENDEZVOUS,
        increase_shared_mem=False,
    ),
    enable_deck=True,
    **GPU_PAIR.options(),
)
def train_classifier_ddp(run: Run, images: PreparedImages, config: ClassifierConfig) -> Trained:
    """Trains with two processes on one node; needs no operator."""
    from tasks.classifier_training import train

    return train(run, images, config, machine=GPU_PAIR, processes=PROCESSES)


@task(
    task_config=Elastic(
        nnodes=f"{MIN_NODES}:{MAX_NODES}",
        nproc_per_node=1,
        max_restarts=3,
        monitor_interval=5,
        rdzv_configs=RENDEZVOUS,
        increase_shared_mem=False,
        run_policy=RunPolicy(
            clean_pod_policy=CleanPodPolicy.ALL,
            ttl_seconds_after_finished=600,
        ),
    ),
    enable_deck=True,
    **SMALL_GPU.options(),
)
def train_classifier_nodes(run: Run, images: PreparedImages, config: ClassifierConfig) -> Trained:
    """Trains on one to four nodes with one GPU each; needs the training operator."""
    from tasks.classifier_training import train

    nodes = int(os.environ.get("WORLD_SIZE", "1"))  # one process each
    return train(run, images, config, machine=SMALL_GPU, nodes=nodes)

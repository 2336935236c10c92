"""The hub token: a Flyte secret on a cluster, a variable on one machine; absent where none is."""

import os

import flytekit
from flytekit import Secret

from tasks.execution import current_execution

HUB_SECRET = Secret(group="huggingface", key="token")
"""Needed for gated models alone; a cluster without it still runs everything else."""


def hub_token() -> str | None:
    """The token for gated models, or None."""
    if token := os.environ.get("HF_TOKEN"):
        return token
    if not current_execution().on_cluster:
        return None
    try:
        return str(flytekit.current_context().secrets.get(HUB_SECRET.group, HUB_SECRET.key))
    except ValueError:  # flytekit's word for a secret that is not mounted
        return None

"""The reload check: what the registry and S3 give back computes the same logits."""

import tempfile
from pathlib import Path

from flytekit import task

from tasks.machines import TORCH_CPU
from tasks.records import Registered, Stored
from tasks.retrying import retried_by_flyte


@task(**TORCH_CPU.options())
def reload_model(registered: Registered, stored: Stored) -> float:
    """Loads the model from both places in a fresh process; returns the largest difference.

    Raises:
        ValueError: A logit differs from the one that training gave.
    """
    from stores.artifacts import fetch_version
    from stores.registry import fetch_model
    from stores.reload import largest_difference
    from stores.settings import Settings

    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as folder:
        from_registry, from_s3 = Path(folder) / "registry", Path(folder) / "s3"
        with retried_by_flyte():
            fetch_model(settings, registered.name, registered.version, from_registry)
            fetch_version(settings, stored.uri, from_s3)
        return largest_difference(
            [from_registry, from_s3 / "model"], probe=from_s3 / "probe.safetensors"
        )

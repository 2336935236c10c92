"""The reload check: what the registry and S3 give back answers fixed prompts as before."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from flytekit import task

from tasks.agent_records import AgentBase
from tasks.evaluate_agent import PROBE_FOLDER
from tasks.machines import TORCH_CPU
from tasks.records import Registered, Stored
from tasks.retrying import retried_by_flyte


@task(**TORCH_CPU.options())
def reload_agent(registered: Registered, stored: Stored, base: AgentBase) -> float:
    """Loads the agent from both places in a fresh process; returns the largest logit difference.

    Raises:
        ValueError: An answer or a logit differs from what evaluation got.
    """
    from stores.artifacts import fetch_version
    from stores.registry import fetch_model
    from stores.settings import Settings

    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as folder:
        from_registry, from_s3 = Path(folder) / "registry", Path(folder) / "s3"
        with retried_by_flyte():
            fetch_model(settings, registered.name, registered.version, from_registry)
            fetch_version(settings, stored.uri, from_s3)
        model = from_s3 / "model"
        return asked_again(model / PROBE_FOLDER, [from_registry, model], base)


def asked_again(probe: Path, folders: list[Path], base: AgentBase) -> float:
    """Asks each stored agent the fixed prompts, in a fresh process.

    Raises:
        ValueError: One does not load, or answers otherwise.
    """
    from stores.reload import TOLERANCE

    own = folders[0] / "base"
    base_folder = "" if own.is_dir() else str(base.folder.download())
    command = [sys.executable, "-m", "training.agent_probe", str(probe), base_folder]
    done = subprocess.run(
        [*command, *map(str, folders)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ValueError(f"the stored agent does not load: {last}")
    found: dict[str, tuple[float, int]] = json.loads(done.stdout.splitlines()[-1])
    for difference, wrong in found.values():
        if wrong or not difference <= TOLERANCE:
            raise ValueError(
                f"the stored agent gives {wrong} other answers, and logits that differ by "
                f"{difference:.3g} (allowed {TOLERANCE}); do not promote it"
            )
    return max(difference for difference, _ in found.values())

"""Exports of a tuned agent, as its `training.yaml` asks, beside the adapter in one package."""

import shutil
import tempfile
from pathlib import Path

from flytekit import task
from flytekit.types.directory import FlyteDirectory

from tasks.agent_records import AgentBase
from tasks.execution import working_folder
from tasks.machines import TORCH_CPU
from tasks.records import Evaluated, Registered
from training.agent_config import AgentTraining

EXPORTS_FOLDER = "exports"


@task(**TORCH_CPU.options())
def export_agent(
    evaluated: Evaluated,
    registered: Registered,  # noqa: ARG001 - what the registry refuses is not exported
    base: AgentBase,
    config: AgentTraining,
) -> Evaluated:
    """Merges the adapter into its base and writes each form; every one is read back or run.

    Raises:
        ExportError: An export is not the model it was made from.
    """
    from dataclasses import replace

    from training.agent_tuning import load_agent
    from training.export import MlxConfig, export_mlx, export_ollama, export_safetensors
    from training.lora import merge_adapter

    package = working_folder("exported")
    shutil.copytree(Path(evaluated.package.download()), package, dirs_exist_ok=True)
    if not config.exports:
        return replace(evaluated, package=FlyteDirectory(str(package)))
    model, tokenizer = load_agent(package / "model", Path(base.folder.download()))
    exports = package / EXPORTS_FOLDER
    with tempfile.TemporaryDirectory() as temporary:
        keep = "safetensors" in config.exports
        merged = export_safetensors(
            merge_adapter(model),
            tokenizer,
            (exports if keep else Path(temporary)) / "safetensors",
        )
        if "mlx" in config.exports:
            export_mlx(merged, exports / "mlx", config=MlxConfig.of_bits(config.mlx_bits))
        if "ollama" in config.exports:
            export_ollama(merged, exports / "ollama")
    return replace(evaluated, package=FlyteDirectory(str(package)))

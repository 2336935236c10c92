"""LoRA: an adapter added to a model before the fine-tune loop, saved alone, merged for export."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.dropout import ByteDropout

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
LINEAR_LAYERS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
"""The linear layers of Gemma, Llama, Qwen and their like."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The shape of an adapter."""

    rank: int = 8
    """Rank of each update."""

    alpha: float = 16.0
    """Updates are scaled by alpha / rank."""

    dropout: float = 0.0
    """Share of an adapter's inputs dropped while training, to the nearest multiple of 1/256."""

    target_modules: Sequence[str] = LINEAR_LAYERS
    """Last parts of the names of the layers that get an update."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; give at least 1")
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; give a positive number")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; give a share from 0 to below 1")
        if not self.target_modules:
            raise ValueError("target_modules is empty; name the layers to adapt")


def add_adapter(model: Any, config: LoraConfig, *, seed: int = 0) -> Any:
    """Wraps a transformers model so that only its new adapter trains; same seed, same adapter.

    The adapter changes nothing until it is trained.

    Raises:
        ValueError: A target module is not in the model.
    """
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from peft.tuners.lora import LoraLayer

    linear = {
        name.rpartition(".")[2]: type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    }
    missing = sorted(set(config.target_modules) - set(linear))
    if missing:
        raise ValueError(
            f"target_modules has {missing}, and the model's linear layers are {sorted(linear)}; "
            "name some of these"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(
            model,
            PeftConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=list(config.target_modules),
                # GPT-2's Conv1D keeps its weights transposed.
                fan_in_fan_out="Conv1D" in {linear[name] for name in config.target_modules},
                task_type="CAUSAL_LM",
            ),
        )
    if config.dropout:
        for module in adapted.modules():
            if isinstance(module, LoraLayer):
                # On a CPU torch's own takes a third of a small model's step.
                share = min(255, round(config.dropout * 256)) / 256
                module.lora_dropout["default"] = ByteDropout(share)
    return adapted


def save_adapter(model: Any, folder: Path) -> Path:
    """Writes the adapter alone (safetensors and its config) and returns the folder."""
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def load_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Puts a saved adapter onto its base model.

    Raises:
        ValueError: The folder has no adapter, or it was made for another architecture.
    """
    from peft import PeftModel

    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} has no {missing[0]}; name the folder of a saved adapter")
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder} does not fit this model ({reason}); use the base model it was trained on"
        ) from error


def merge_adapter(model: Any) -> Any:
    """Adds the adapter to the weights and returns the plain transformers model, changed in place.

    Raises:
        FloatingPointError: A merged weight is not a finite number.
    """
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise FloatingPointError(f"the adapter cannot be merged: {error}") from error

"""The settings of an agent's training, from `agents/<name>/training.yaml`.

A value on the command line wins over the file, the file over the default written here.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from training.yaml_files import YamlError, read_yaml

EXPORTS = ("safetensors", "mlx", "ollama")
"""Forms that a tuned model can be exported in."""

LONG_EXAMPLES = ("refuse", "truncate")
"""What happens to examples longer than `max_length`."""

_CRON_FIELD = re.compile(r"(\*|\d+(-\d+)?)(/\d+)?(,(\*|\d+(-\d+)?)(/\d+)?)*")
_EXPONENT = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+")


class AgentConfigError(ValueError):
    """A setting that cannot be used; the message names file, field, value and mend."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """How the adapter is shaped."""

    rank: int = 8
    """Rank of the update of each adapted matrix."""

    alpha: int = 16
    """The update is scaled by alpha / rank."""

    dropout: float = 0.0
    """Share of the adapter's inputs dropped in training, from 0 to below 1."""

    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Names of the linear layers that are adapted."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a tuned model must reach to be promoted."""

    exact_call_accuracy: float = 0.9
    """The least share of exact calls for known alerts in unseen phrasings."""

    false_call_rate: float = 0.05
    """The highest share of calls where a reply or a person is wanted."""


@dataclass(frozen=True, kw_only=True)
class AgentTraining:
    """Everything that an agent's training can be told."""

    agent_name: str
    """Name of the agent's folder."""

    model_name: str = "google/functiongemma-270m-it"
    """A model of the hub, or a folder with one."""

    runbook_path: str = "RUNBOOK.md"
    """The runbook, a file or a folder, relative to the agent's folder."""

    learning_rate: float = 2e-4
    """Highest learning rate of the schedule."""

    batch_size: int = 8
    """Examples of one forward pass."""

    accumulation: int = 1
    """Forward passes of one optimiser step."""

    iters: int = 300
    """Optimiser steps."""

    warmup_share: float = 0.05
    """Share of the steps in which the learning rate rises, from 0 to below 1."""

    weight_decay: float = 0.0
    """Decoupled weight decay of the adapter."""

    clip_norm: float = 1.0
    """Largest norm of the gradient."""

    eval_every: int = 50
    """Steps between two measurements of the validation data."""

    patience: int = 0
    """Measurements without improvement before stopping early; 0 never stops."""

    max_length: int = 2048
    """Longest example in tokens."""

    long_examples: str = "refuse"
    """One of `LONG_EXAMPLES`."""

    max_new_tokens: int = 128
    """Longest answer in the evaluation, in tokens."""

    unseen_fraction: float = 0.15
    """Share of alerts kept out of training, from 0 to 0.5."""

    seed: int = 0
    """Seed of the splits, the adapter and the order of examples."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    """How the adapter is shaped."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    """What the gate asks for."""

    exports: tuple[str, ...] = ("safetensors",)
    """Some of `EXPORTS`."""

    mlx_bits: int = 4
    """Bits per weight of the MLX export: 2, 3, 4, 6 or 8; 16 leaves it unquantised."""

    schedule: str = "0 2 * * 0"
    """When retraining is considered: cron, in UTC. Sunday at two is the default."""

    def runbook_in(self, folder: Path) -> Path:
        """Gives the runbook of the agent whose folder is `folder`; an absolute path stays."""
        return folder / self.runbook_path


def read_training(folder: Path, overrides: Mapping[str, Any] | None = None) -> AgentTraining:
    """Reads an agent's `training.yaml`.

    Args:
        folder: `agents/<name>`. A missing file means defaults; a missing folder is an error.
        overrides: Values from the command line by name, dotted for nested ones (`lora.rank`);
            None leaves a setting as the file has it.

    Raises:
        AgentConfigError: A key is unknown, or a value has the wrong type or range.
    """
    if not folder.is_dir():
        raise AgentConfigError(f"agent folder {str(folder)!r} does not exist; see agents/")
    path = folder / "training.yaml"
    try:
        content = read_yaml(path) if path.exists() else {}
    except YamlError as error:
        raise AgentConfigError(str(error)) from error
    values = _flat(content, str(path))
    sources = dict.fromkeys(values, str(path))
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name] = value
            sources[name] = "command line"
    if values.pop("agent_name", folder.resolve().name) != folder.resolve().name:
        raise AgentConfigError(
            f"{sources['agent_name']}: agent_name must be the folder's, "
            f"{folder.resolve().name!r}; leave it out"
        )
    return _built(AgentTraining, values, sources, agent_name=folder.resolve().name)


def _flat(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Writes nested mappings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(value, dict):
            flat[name] = value
            continue
        for inner, leaf in value.items():
            if isinstance(leaf, dict):
                raise AgentConfigError(f"{source}: {name}.{inner} is nested too deep")
            flat[f"{name}.{inner}"] = leaf
    return flat


def _built(
    kind: type[AgentTraining],
    values: Mapping[str, Any],
    sources: Mapping[str, str],
    **given: Any,
) -> AgentTraining:
    known = _settings(kind)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise AgentConfigError(_unknown(name, sources[name], known))
        checked[name] = _checked(name, value, known[name], sources[name])
    hints = get_type_hints(kind)
    nested = {
        name: hint(
            **{key.partition(".")[2]: v for key, v in checked.items() if key.startswith(f"{name}.")}
        )
        for name, hint in hints.items()
        if is_dataclass(hint) and isinstance(hint, type)
    }
    plain = {name: value for name, value in checked.items() if "." not in name}
    return kind(**{**plain, **nested, **given})


def _settings(kind: type) -> dict[str, Any]:
    """Lists settings with their types, nested ones with dotted names."""
    hints = get_type_hints(kind)
    result: dict[str, Any] = {}
    for entry in fields(kind):
        hint = hints[entry.name]
        if is_dataclass(hint) and isinstance(hint, type):
            result |= {f"{entry.name}.{name}": inner for name, inner in _settings(hint).items()}
        elif entry.default is not MISSING or entry.default_factory is not MISSING:
            result[entry.name] = hint
    return result


def _unknown(name: str, source: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    leaf = [key for key in known if key.endswith(f".{name}")]
    hint = f"did you mean {(leaf or near)[0]!r}?" if leaf or near else f"use {', '.join(known)}"
    return f"{source}: {name!r} is not a setting; {hint}"


def _checked(name: str, value: Any, hint: Any, source: str) -> Any:
    """Checks type and range of one value and gives it in its own type."""
    typed = _typed(value, hint)
    if typed is None:
        raise AgentConfigError(
            f"{source}: {name} is {value!r}; write {_WANTED[get_origin(hint) or hint]}"
        )
    rule = _RULES.get(name)
    if rule is not None and not rule[0](typed):
        raise AgentConfigError(f"{source}: {name} is {value!r}; give {rule[1]}")
    return typed


_WANTED: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


def _typed(value: Any, hint: Any) -> Any:
    """Gives the value in the hint's type, or None where it has another."""
    if get_origin(hint) is tuple:
        is_list = isinstance(value, list | tuple)
        if not is_list or not all(isinstance(item, get_args(hint)[0]) for item in value):
            return None
        return tuple(value)
    if isinstance(value, bool):
        return None
    if hint is float:
        # YAML 1.1 reads 1e-4 as text; nobody means a text there.
        if isinstance(value, str) and _EXPONENT.fullmatch(value):
            return float(value)
        return float(value) if isinstance(value, int | float) else None
    return value if isinstance(value, hint) else None


def _is_cron(text: str) -> bool:
    parts = text.split()
    return len(parts) == 5 and all(_CRON_FIELD.fullmatch(part) for part in parts)


_Rule = tuple[Callable[[Any], bool], str]
_POSITIVE: _Rule = (lambda value: value > 0 and math.isfinite(value), "a number above 0")
_COUNT: _Rule = (lambda value: value >= 1, "a whole number of at least 1")
_NOT_NEGATIVE: _Rule = (lambda value: value >= 0 and math.isfinite(value), "0 or more")
_SHARE: _Rule = (lambda value: 0 <= value <= 1, "a share from 0 to 1")
_BELOW_ONE: _Rule = (lambda value: 0 <= value < 1, "a share from 0 to below 1")
_NAMED: _Rule = (lambda value: bool(value.strip()), "a name or a path")

_RULES: Mapping[str, _Rule] = {
    "model_name": _NAMED,
    "runbook_path": _NAMED,
    "learning_rate": (lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "batch_size": _COUNT,
    "accumulation": _COUNT,
    "iters": _COUNT,
    "warmup_share": _BELOW_ONE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _POSITIVE,
    "eval_every": _COUNT,
    "patience": _NOT_NEGATIVE,
    "max_length": (lambda value: value >= 64, "at least 64 tokens"),
    "long_examples": (lambda value: value in LONG_EXAMPLES, f"one of {', '.join(LONG_EXAMPLES)}"),
    "max_new_tokens": _COUNT,
    "unseen_fraction": (lambda value: 0 <= value <= 0.5, "a share from 0 to 0.5"),
    "seed": (lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295"),
    "lora.rank": _COUNT,
    "lora.alpha": _COUNT,
    "lora.dropout": _BELOW_ONE,
    "lora.targets": (lambda value: len(value) > 0, "at least one layer, as in [q_proj, v_proj]"),
    "thresholds.exact_call_accuracy": _SHARE,
    "thresholds.false_call_rate": _SHARE,
    "exports": (lambda value: set(value) <= set(EXPORTS), f"some of {', '.join(EXPORTS)}"),
    "mlx_bits": (lambda value: value in (2, 3, 4, 6, 8, 16), "one of 2, 3, 4, 6, 8, 16"),
    "schedule": (_is_cron, "five cron fields in UTC, as in '0 2 * * 0'"),
}

"""Checkpoints: one safetensors file each, complete or absent, never a pickle.

A file holds the tensors of a run (model, optimiser, averages) and, in its header, the JSON state
(position, history, schedule), the identity of the run and a SHA-256 over all of it. One file is
what a rename publishes atomically, and what Flyte's checkpoint, which takes a single file, carries
as it is. Only one process of a run, rank 0, writes.
"""

import hashlib
import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.distributed import Ranks, tensor_from_main, text_from_main

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Identity: TypeAlias = Mapping[str, str | int | float | bool]

FORMAT = "oppen-checkpoint-1"
SUFFIX = ".safetensors"

_log = logging.getLogger(__name__)


class CheckpointRefusedError(ValueError):
    """A file that must not be resumed from: damaged, of another format, or of another run."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and how many stay."""

    every_steps: int = 0
    """Steps between two checkpoints; 0 leaves it to `every_seconds` alone."""

    every_seconds: float = 60.0
    """Seconds between two checkpoints; infinity leaves it to `every_steps` alone."""

    keep: int = 2
    """Checkpoints of this run that stay on disk, the newest ones."""

    def __post_init__(self) -> None:
        if self.every_steps < 0:
            raise ValueError(f"every_steps is {self.every_steps}; give 0 (by time only) or more")
        if not self.every_seconds > 0:
            raise ValueError(f"every_seconds is {self.every_seconds}; give a positive number")
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}; keep at least 1 checkpoint")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checkpoint that was read back and verified."""

    step: int
    """Optimiser steps done when it was written."""

    tensors: Mapping[str, Tensor]
    """What `save` was given, on the CPU."""

    state: Mapping[str, Any]
    """The JSON state `save` was given."""

    path: Path
    """The file it came from."""


class Checkpoints:
    """Writes the checkpoints of one run into `folder` and prunes the old ones.

    `identity` is whatever must be equal for a resumed run to be the same run: configuration, data
    digest, seed. `on_saved` is called with each finished file, for instance to copy it to where a
    later attempt finds it; its errors are the caller's and end the run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: Identity,
        config: CheckpointConfig | None = None,
        on_saved: Callable[[Path], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.config = config or CheckpointConfig()
        self._on_saved = on_saved
        self._clock = clock
        self._saved_at = clock()

    def due(self, step: int) -> bool:
        """Says whether a checkpoint should be written now that `step` steps are done."""
        every = self.config.every_steps
        if every and step > 0 and step % every == 0:
            return True
        return self._clock() - self._saved_at >= self.config.every_seconds

    def save(self, *, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> Path:
        """Writes one checkpoint atomically and returns its path.

        The file appears under its name only when all of it is on disk. Tensors that share memory
        (tied weights) are stored once. Same input, same bytes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:09d}-{_tag(self.identity)}{SUFFIX}"
        stored, aliases = _without_aliases(tensors)
        header: dict[str, JSON] = {
            "format": FORMAT,
            "step": step,
            "identity": self.identity,
            "state": state,
            "aliases": aliases,
        }
        header["sha256"] = _digest(stored, header)
        partial = path.with_name(f".{path.name}.partial")
        # One key: the order in which safetensors writes several is random.
        save_file(stored, partial, metadata={"checkpoint": _dumps(header)})
        _publish(partial, path)
        self._prune(newest=step)
        self._saved_at = self._clock()
        if self._on_saved is not None:
            self._on_saved(path)
        return path

    def _prune(self, *, newest: int) -> None:
        """Removes this run's checkpoints beyond `keep`; those of other runs are not ours."""
        ours = sorted(self.folder.glob(f"step-*-{_tag(self.identity)}{SUFFIX}"))
        done = [path for path in ours if int(path.name.split("-")[1]) <= newest]
        for path in done[: -self.config.keep]:
            path.unlink(missing_ok=True)


def restore(
    folders: Sequence[Path], *, identity: Identity, ranks: Ranks | None = None
) -> Loaded | None:
    """Returns the newest valid checkpoint of the first place that has one, or None.

    Args:
        folders: Where to look, in order of preference: folders, or single checkpoint files. Those
            that do not exist are passed over.
        identity: What the run is; see `Checkpoints`.
        ranks: Where there are several, rank 0 reads and sends the others what it read: a machine
            without the file resumes too, and all resume from the same one.

    A damaged or foreign checkpoint is passed over with a warning that says why.
    """
    ranks = ranks or Ranks()
    loaded = _newest_valid(folders, identity) if ranks.is_main else None
    return loaded if ranks.world_size == 1 else _share(loaded, ranks)


def _newest_valid(folders: Sequence[Path], identity: Identity) -> Loaded | None:
    for folder in folders:
        for path in _newest_first(folder):
            try:
                return load(path, identity=identity)
            except CheckpointRefusedError as refusal:
                _log.warning("checkpoint refused: %s", refusal)
    return None


def _share(loaded: Loaded | None, ranks: Ranks) -> Loaded | None:
    """Sends rank 0's checkpoint to the other ranks: first what is in it, then the tensors."""
    content: dict[str, Any] = {}
    if loaded is not None:
        shapes = {name: [str(t.dtype), list(t.shape)] for name, t in loaded.tensors.items()}
        content = {"step": loaded.step, "state": loaded.state, "path": str(loaded.path)}
        content["tensors"] = shapes
    content = json.loads(text_from_main(_dumps(content), ranks))
    if not content:
        return None
    tensors: dict[str, Tensor] = dict(loaded.tensors) if loaded is not None else {}
    for name, (dtype, shape) in sorted(content.pop("tensors").items()):
        mine = tensors.get(name, torch.empty(shape, dtype=getattr(torch, dtype.split(".")[1])))
        tensors[name] = tensor_from_main(mine, ranks)
    return Loaded(
        step=content["step"], tensors=tensors, state=content["state"], path=Path(content["path"])
    )


def load(path: Path, *, identity: Identity) -> Loaded:
    """Reads and verifies one checkpoint.

    Raises:
        CheckpointRefusedError: It is damaged, or belongs to a run with another identity.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(file)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointRefusedError(f"{path} is damaged ({error}); remove it") from error
    if header.pop("sha256", None) != _digest(tensors, header):
        raise CheckpointRefusedError(f"{path} is damaged (its SHA-256 differs); remove it")
    theirs, ours = header["identity"], dict(identity)
    if theirs != ours:
        key = min(k for k in theirs | ours if theirs.get(k) != ours.get(k))
        raise CheckpointRefusedError(
            f"{path} belongs to another run: its {key} is {theirs.get(key)!r}, "
            f"this run has {ours.get(key)!r}; use another checkpoint folder"
        )
    tensors |= {alias: tensors[name] for alias, name in header["aliases"].items()}
    return Loaded(step=header["step"], tensors=tensors, state=header["state"], path=path)


def pack_optimizer(
    optimizer: torch.optim.Optimizer, *, prefix: str = "optimizer/"
) -> tuple[dict[str, Tensor], dict[str, JSON]]:
    """Splits an optimiser's state into named tensors and JSON for `Checkpoints.save`."""
    packed = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, JSON]] = {}
    for index, values in packed["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"scalars": scalars, "param_groups": packed["param_groups"]}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    prefix: str = "optimizer/",
) -> None:
    """Puts back what `pack_optimizer` took; the optimiser must have the same parameters.

    Averages get the memory layout of their parameter: a fused optimiser walks through both memories
    side by side, and would mix up the elements of channels-last weights with contiguous averages.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values: dict[int, dict[str, Any]] = {
        int(index): dict(scalars) for index, scalars in state["scalars"].items()
    }
    for key, tensor in tensors.items():
        if key.startswith(prefix):
            index, name = key.removeprefix(prefix).split("/")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)  # noqa: PLW2901 - the same values
            values.setdefault(int(index), {})[name] = tensor
    groups = [
        {name: tuple(v) if isinstance(now.get(name), tuple) else v for name, v in group.items()}
        for group, now in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({"state": values, "param_groups": groups})


def random_state() -> dict[str, Tensor]:
    """Takes the random states of this process: Python, NumPy, torch and its GPU."""
    _, python, gauss = random.getstate()
    numpy: dict[str, Any] = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is what libraries draw from
    cached = [math.nan if gauss is None else gauss, numpy["gauss"], numpy["has_gauss"]]
    state = {
        "random/python": torch.tensor(python, dtype=torch.int64),
        "random/numpy": torch.tensor(
            [*numpy["state"]["key"].tolist(), numpy["state"]["pos"]], dtype=torch.int64
        ),
        "random/gauss": torch.tensor(cached, dtype=torch.float64),
        "random/torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["random/cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Puts back what `random_state` took, from a mapping that may hold more."""
    gauss, numpy_gauss, numpy_has_gauss = state["random/gauss"].tolist()
    python = tuple(state["random/python"].tolist())
    random.setstate((3, python, None if math.isnan(gauss) else gauss))
    *key, position = state["random/numpy"].tolist()
    np.random.set_state(  # noqa: NPY002 - as in random_state
        ("MT19937", np.array(key, dtype=np.uint32), position, int(numpy_has_gauss), numpy_gauss)
    )
    torch.set_rng_state(state["random/torch"])
    if "random/cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random/cuda"])


def _newest_first(place: Path) -> list[Path]:
    """Lists the checkpoint files of a folder (or the file itself), the highest step first."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        return []
    return sorted(place.glob(f"*{SUFFIX}"), key=lambda path: (_step_of(path), path.name))[::-1]


def _step_of(path: Path) -> int:
    """Reads the step from a file's header; damaged files come first so that they are reported."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(_header(file)["step"])
    except (SafetensorError, OSError, ValueError):
        return 1 << 62


def _header(file: Any) -> dict[str, Any]:
    """Reads the JSON header of an open checkpoint; ValueError where there is none."""
    header = json.loads((file.metadata() or {}).get("checkpoint", "null"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"it has no {FORMAT} header")
    return header


def _without_aliases(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns contiguous CPU tensors, each memory once, and the names of the repeated ones."""
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        layout = (tensor.dtype, tuple(tensor.shape), tensor.stride())
        key = (tensor.device, tensor.data_ptr(), layout)
        if tensor.numel() and key in seen:
            aliases[name] = seen[key]
            continue
        seen[key] = name
        copy = tensor.cpu().contiguous()
        # A view of a larger memory, or one that overlaps another, must stand alone in the file.
        alone = copy.untyped_storage().nbytes() == copy.numel() * copy.element_size()
        stored[name] = copy if alone else copy.clone()
    return stored, aliases


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, JSON]) -> str:
    """Returns the SHA-256 over the header and every tensor's name, type, shape and bytes."""
    sha256 = hashlib.sha256(_dumps(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha256.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha256.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def _tag(identity: Identity) -> str:
    return hashlib.sha256(_dumps(dict(identity)).encode()).hexdigest()[:8]


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _publish(partial: Path, path: Path) -> None:
    """Flushes `partial` to disk, gives it its name, and flushes the name."""
    _flush(partial)
    partial.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

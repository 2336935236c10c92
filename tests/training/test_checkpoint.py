"""Checkpoints: what is written comes back whole, and nothing else is resumed from."""

import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.checkpoint import (
    CheckpointConfig,
    CheckpointRefusedError,
    Checkpoints,
    load,
    pack_optimizer,
    random_state,
    restore,
    set_random_state,
    unpack_optimizer,
)

IDENTITY = {"seed": 1, "data": "abc"}


def save(folder: Path, step: int, **identity: int) -> Path:
    """Saves one small checkpoint."""
    checkpoints = Checkpoints(folder, identity=IDENTITY | identity)
    tensors = {"weight": torch.full((3, 2), float(step))}
    return checkpoints.save(step=step, tensors=tensors, state={"epoch": 1, "losses": [0.1, 2.5]})


def test_roundtrip_keeps_every_bit(tmp_path: Path) -> None:
    """Tensors of every kind, shared ones included, and the state come back equal."""
    tied = torch.randn(4, 3)
    tensors = {
        "a": tied,
        "b": tied,
        "half": torch.randn(5).bfloat16(),
        "count": torch.tensor(7, dtype=torch.int64),
        "view": torch.arange(12.0).reshape(3, 4).T,
        "empty": torch.zeros(0, 3),
    }
    state = {"lr": 0.1 + 0.2, "history": [{"loss": 1e-300}], "none": None}
    path = Checkpoints(tmp_path, identity=IDENTITY).save(step=12, tensors=tensors, state=state)

    loaded = load(path, identity=IDENTITY)

    assert loaded.step == 12
    assert loaded.state == state
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    assert path.stat().st_size < 2 * 48 + 48 + 10 + 8 + 2000, "the tied tensor is stored once"


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Two saves of the same step are the same file, byte for byte."""
    assert save(tmp_path / "a", 5).read_bytes() == save(tmp_path / "b", 5).read_bytes()


def test_newest_of_the_first_place_is_restored(tmp_path: Path) -> None:
    """Places are tried in order; within one, the highest step wins; missing ones do not matter."""
    save(tmp_path / "local", 9)
    save(tmp_path / "local", 10)
    elsewhere = save(tmp_path / "flyte", 99)

    local = restore([tmp_path / "no", tmp_path / "local", elsewhere], identity=IDENTITY)
    flyte = restore([tmp_path / "no", elsewhere, tmp_path / "local"], identity=IDENTITY)

    assert local is not None
    assert local.step == 10
    assert flyte is not None
    assert flyte.step == 99
    assert restore([tmp_path / "no"], identity=IDENTITY) is None


@pytest.mark.parametrize("damage", ["cut", "bit", "header", "empty", "text"])
def test_damaged_is_refused_and_the_older_one_used(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A truncated, altered or strange file is passed over with a warning that names it."""
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        content = content[:-5]
    elif damage == "bit":
        content[-1] ^= 1
    elif damage == "header":
        content = content.replace(b"2.5", b"2.6")
    else:
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint at all")
    newest.write_bytes(content)

    with caplog.at_level(logging.WARNING):
        loaded = restore([tmp_path], identity=IDENTITY)

    assert loaded is not None
    assert loaded.step == 1
    assert str(newest) in caplog.text
    assert "damaged" in caplog.text


def test_foreign_is_refused_by_the_name_of_what_differs(tmp_path: Path) -> None:
    """A checkpoint of another seed says so, and is neither used nor pruned nor overwritten."""
    foreign = save(tmp_path, 5, seed=2)
    before = foreign.read_bytes()

    with pytest.raises(CheckpointRefusedError, match="its seed is 2, this run has 1"):
        load(foreign, identity=IDENTITY)
    for step in (4, 5, 6, 7):
        save(tmp_path, step)

    assert foreign.read_bytes() == before
    loaded = restore([tmp_path], identity=IDENTITY)
    assert loaded is not None
    assert loaded.step == 7


def test_only_the_newest_stay(tmp_path: Path) -> None:
    """Old checkpoints go, and no partial file is left behind."""
    for step in (1, 2, 3, 10):
        save(tmp_path, step)

    assert sorted(p.name.split("-")[1] for p in tmp_path.iterdir()) == ["000000003", "000000010"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies before the rename leaves the previous checkpoint in force."""
    save(tmp_path, 1)

    def die(*_: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("training.checkpoint._publish", die)
    with pytest.raises(OSError, match="no space left"):
        save(tmp_path, 2)

    loaded = restore([tmp_path], identity=IDENTITY)

    assert loaded is not None
    assert loaded.step == 1


def test_due_by_steps_or_by_seconds(tmp_path: Path) -> None:
    """A checkpoint is due every N steps, and when T seconds went by since the last one."""
    now = 0.0
    config = CheckpointConfig(every_steps=3, every_seconds=60)
    seen: list[Path] = []
    checkpoints = Checkpoints(
        tmp_path, identity=IDENTITY, config=config, on_saved=seen.append, clock=lambda: now
    )

    assert [step for step in range(8) if checkpoints.due(step)] == [3, 6]
    now = 60.0
    assert checkpoints.due(7)
    path = checkpoints.save(step=7, tensors={}, state={})
    assert not checkpoints.due(8)
    assert seen == [path]


@pytest.mark.parametrize(
    ("field", "value"), [("every_steps", -1), ("every_seconds", 0.0), ("keep", 0)]
)
def test_config_refuses_by_name(field: str, value: float) -> None:
    """A value that makes no sense is refused by the name of its field."""
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        CheckpointConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("fused", [True, False])
def test_optimizer_continues_bit_for_bit(tmp_path: Path, *, fused: bool) -> None:
    """Saved, restored and stepped again, an optimiser ends where the undisturbed one does."""

    def trained(steps: list[int], resume: Path | None) -> tuple[torch.Tensor, Path]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(2, 2))
        model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
        if resume is not None:
            loaded = load(resume, identity=IDENTITY)
            model.load_state_dict({k: loaded.tensors[k] for k in model.state_dict()})
            unpack_optimizer(optimizer, loaded.tensors, loaded.state["optimizer"])
        for step in steps:
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(8, 3, 2, 2)).square().mean().backward()
            optimizer.step()
        tensors, state = pack_optimizer(optimizer)
        path = Checkpoints(tmp_path, identity=IDENTITY).save(
            step=steps[-1], tensors=model.state_dict() | tensors, state={"optimizer": state}
        )
        return model[0].weight.detach(), path

    straight, _ = trained([1, 2, 3, 4, 5], None)
    _, path = trained([1, 2], None)
    resumed, _ = trained([3, 4, 5], path)

    assert torch.equal(straight, resumed)


def test_random_state_comes_back() -> None:
    """Python, NumPy and torch draw the same numbers again after the state is put back."""

    def draw() -> tuple[float, ...]:
        return (
            random.random(),
            random.gauss(0, 1),
            float(np.random.standard_normal()),  # noqa: NPY002 - the global state is what is saved
            float(torch.rand(())),
        )

    draw()
    state = random_state()
    first = draw()

    set_random_state(state)

    assert draw() == first

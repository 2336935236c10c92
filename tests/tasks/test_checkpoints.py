"""Checkpoints on their way to Flyte's storage and back, with flytekit's own checkpointer."""

from pathlib import Path
from types import SimpleNamespace

import flytekit
import pytest
from flytekit.core.checkpointer import SyncCheckpoint

from tasks.checkpoints import SLOTS, carrier, forget, local_folder, resume_places
from tasks.execution import Execution

CLUSTER = Execution(name="f1", attempt=1, on_cluster=True)
MACHINE = Execution(name="f1", attempt=0, on_cluster=False)


def use(monkeypatch: pytest.MonkeyPatch, checkpoint: SyncCheckpoint) -> None:
    """Makes a checkpointer that of the running task."""
    context = SimpleNamespace(checkpoint=checkpoint)
    monkeypatch.setattr(flytekit, "current_context", lambda: context)


def saved(folder: Path, step: int) -> Path:
    """Leaves a checkpoint file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step}.safetensors"
    path.write_text(str(step), encoding="utf-8")
    return path


def test_a_pod_finds_what_the_one_before_it_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was carried is restored; Flyte holds no more than the slots, the newest among them."""
    kept = tmp_path / "flyte"
    use(monkeypatch, SyncCheckpoint(str(kept)))
    carry = carrier(CLUSTER)
    assert carry is not None
    for step in (10, 20, 30):
        carry(saved(tmp_path / "here", step))

    use(monkeypatch, SyncCheckpoint(str(tmp_path / "next"), str(kept)))
    local, restored = resume_places("f1", CLUSTER, None)
    assert local == local_folder("f1")
    assert sorted(path.read_text() for path in restored.iterdir()) == ["20", "30"]
    assert len(list(kept.iterdir())) == SLOTS


def test_a_pod_after_one_that_saved_nothing_starts_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Flyte names a place for the earlier attempt's checkpoint even where there is none."""
    use(monkeypatch, SyncCheckpoint(str(tmp_path / "next"), str(tmp_path / "nothing")))
    assert resume_places("f1", CLUSTER, None) == [local_folder("f1")]


def test_a_machine_looks_at_its_own_folder_then_at_the_given_checkpoint(tmp_path: Path) -> None:
    """Flyte is not asked on one machine, and nothing is carried."""
    given = saved(tmp_path, 5)
    assert resume_places("f1", MACHINE, given) == [local_folder("f1"), given]
    assert carrier(MACHINE) is None


def test_a_finished_run_leaves_no_checkpoints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its folder goes; forgetting it again is fine."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local_folder("f1").mkdir(parents=True)
    saved(local_folder("f1"), 1)
    forget("f1")
    forget("f1")
    assert not local_folder("f1").exists()

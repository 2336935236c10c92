"""The image loop: it learns, counts every picture once, stops when told and resumes exactly."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.training.image_runs import Notebook, StopAt, checkpoints_in, small_data
from training.checkpoint import CheckpointConfig
from training.classifier import ClassifierConfig, DivergedError, train_classifier
from training.cnn import load_cnn, predict_logits
from training.training_result import TrainingResult

CONFIG = ClassifierConfig(
    epochs=3, batch_size=16, learning_rate=3e-3, shift_pixels=1, device="cpu", precision="fp32"
)


def test_learns(tmp_path: Path) -> None:
    """A few epochs on an easy task end with every held-out picture right."""
    result = train_classifier(replace(CONFIG, epochs=8), small_data(), out=tmp_path)

    assert result.status == "completed"
    assert result.history[-1].test_accuracy == 1.0
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_result_and_reports_agree(tmp_path: Path) -> None:
    """The reporter hears of every step and epoch, and the result says the same."""
    notebook, data = Notebook(), small_data()

    result = train_classifier(CONFIG, data, out=tmp_path, reporter=notebook)

    assert [p.step for p in notebook.steps] == list(range(1, 3 * 7 + 1))
    assert {p.total_steps for p in notebook.steps} == {21}
    assert [step for step, _ in notebook.records] == [7, 14, 21]
    last = result.history[-1]
    assert notebook.records[-1][1]["test_accuracy"] == last.test_accuracy
    assert notebook.records[-1][1]["images_per_second"] == pytest.approx(103 / last.train_seconds)
    assert notebook.closed == 1
    assert len(result.step_seconds) == 21
    assert sum(result.step_seconds) == pytest.approx(result.train_seconds)
    assert last.learning_rate == pytest.approx(0, abs=1e-9)
    assert TrainingResult.from_json(result.to_json()) == result


def test_saved_model_is_the_trained_one(tmp_path: Path) -> None:
    """The model that is read back scores the held-out pictures as the last epoch did."""
    data = small_data()

    result = train_classifier(CONFIG, data, out=tmp_path)
    logits = predict_logits(load_cnn(tmp_path), data.test.images)

    assert float(F.cross_entropy(logits, data.test.labels)) == pytest.approx(
        result.history[-1].test_loss, rel=1e-4
    )


def test_same_seed_same_weights(tmp_path: Path) -> None:
    """Two runs of one seed give the same file; another seed gives another."""
    digests = [
        train_classifier(replace(CONFIG, seed=seed), small_data(), out=tmp_path).model_sha256
        for seed in (1, 1, 2)
    ]

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stop", [1, 7, 10, 20, 21])
def test_resumed_equals_uninterrupted(tmp_path: Path, stop: int, precision: str) -> None:
    """Stopped anywhere (epoch ends included) and resumed, the weights are equal bit for bit."""
    config = replace(CONFIG, precision=precision)
    straight = train_classifier(config, small_data(), out=tmp_path / "straight")
    folder = tmp_path / "checkpoints"

    first = train_classifier(
        config, small_data(), out=tmp_path / "a", checkpoint_folder=folder, guard=StopAt(stop)
    )
    second = train_classifier(config, small_data(), out=tmp_path / "a", checkpoint_folder=folder)

    assert first.status == ("stopped" if stop < 21 else "completed")
    assert first.stop_reason == ("enough" if stop < 21 else None)
    assert first.steps == second.resumed_from_step == stop
    assert second.model_sha256 == straight.model_sha256
    scores = [(e.train_loss, e.train_accuracy, e.test_accuracy) for e in second.history]
    assert scores == [(e.train_loss, e.train_accuracy, e.test_accuracy) for e in straight.history]


def test_resumes_from_another_place(tmp_path: Path) -> None:
    """Without local checkpoints a run goes on from `resume_from`, and writes its own."""
    data, elsewhere, here = small_data(), tmp_path / "elsewhere", tmp_path / "here"
    train_classifier(CONFIG, data, out=tmp_path, checkpoint_folder=elsewhere, guard=StopAt(5))

    result = train_classifier(
        CONFIG, data, out=tmp_path, checkpoint_folder=here, resume_from=[elsewhere]
    )

    assert result.resumed_from_step == 5
    assert checkpoints_in(here) == [21]


def test_other_settings_start_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint of another learning rate is refused, and why is said."""
    data = small_data()
    train_classifier(CONFIG, data, out=tmp_path, checkpoint_folder=tmp_path, guard=StopAt(5))

    other = replace(CONFIG, learning_rate=1e-3)
    result = train_classifier(other, data, out=tmp_path, checkpoint_folder=tmp_path)

    assert result.resumed_from_step == 0
    assert "its learning_rate is 0.003, this run has 0.001" in caplog.text


def test_checkpoints_come_every_so_many_steps(tmp_path: Path) -> None:
    """Checkpoints are written at their steps and at the end, and handed on."""
    seen: list[Path] = []

    train_classifier(
        CONFIG,
        small_data(),
        out=tmp_path,
        checkpoint_folder=tmp_path / "c",
        checkpoint_config=CheckpointConfig(every_steps=8, keep=9),
        on_checkpoint=seen.append,
    )

    assert checkpoints_in(tmp_path / "c") == [8, 16, 21]
    assert len(seen) == 3


def test_records_are_safe_before_the_checkpoint_that_follows_them(tmp_path: Path) -> None:
    """A kill in the moment that a checkpoint appears loses no epoch that lies before it."""
    kept: list[tuple[list[int], int]] = []

    class Keeper(Notebook):
        def keep(self) -> None:
            kept.append((checkpoints_in(tmp_path / "c"), len(self.records)))

    train_classifier(
        CONFIG,
        small_data(),
        out=tmp_path,
        checkpoint_folder=tmp_path / "c",
        checkpoint_config=CheckpointConfig(every_steps=8, keep=9),
        reporter=Keeper(),
    )

    assert kept == [([], 1), ([8], 2), ([8, 16], 3)]


def test_stopped_before_the_first_step(tmp_path: Path) -> None:
    """A guard that lets nothing start leaves a result without epochs, and a closed reporter."""
    notebook = Notebook()

    result = train_classifier(
        CONFIG, small_data(), out=tmp_path, reporter=notebook, guard=StopAt(0)
    )

    assert (result.status, result.steps, result.history) == ("stopped", 0, ())
    assert notebook.closed == 1


def test_divergence_is_an_error(tmp_path: Path) -> None:
    """A loss that is no longer a number ends the run by name, and the reporter is closed."""
    notebook, data = Notebook(), small_data()
    broken = replace(data, manifest=replace(data.manifest, std=0.0))

    with pytest.raises(DivergedError, match="the training loss is nan at step 1; lower learning"):
        train_classifier(CONFIG, broken, out=tmp_path, reporter=notebook)

    assert notebook.closed == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -0.1),
        ("schedule", "linear"),
        ("warmup_fraction", 1.0),
        ("label_smoothing", 1.0),
        ("shift_pixels", 9),
        ("clip_norm", 0.0),
        ("seed", -1),
        ("device", "tpu"),
        ("precision", "fp8"),
    ],
)
def test_config_refuses_by_name(field: str, value: object) -> None:
    """A value that makes no sense is refused in one line with its field, before any work."""
    with pytest.raises(ValueError, match=f"^{field} is .*; give ") as error:
        replace(CONFIG, **{field: value})
    assert "\n" not in str(error.value)


def test_few_pictures_come_in_small_batches(tmp_path: Path) -> None:
    """The default goes by their number; what is given is kept, and the result says what it was."""
    assert ClassifierConfig().batch_size_for(9_999) == 64
    assert ClassifierConfig().batch_size_for(10_000) == 128
    assert ClassifierConfig(batch_size=7).batch_size_for(9_999) == 7
    result = train_classifier(
        replace(CONFIG, epochs=1, batch_size=None), small_data(), out=tmp_path
    )
    assert result.config["batch_size"] == 64
    assert result.steps == 2  # 103 pictures


def test_batches_hold_every_picture_once() -> None:
    """Over an epoch and all ranks, each picture is seen once, in batches equal to within one."""
    from training.distributed import Ranks
    from training.sharding import epoch_batches, share

    batches = epoch_batches(103, batch_size=16, seed=3, epoch=1)
    shares = [share(batch, Ranks(rank, 3)) for batch in batches for rank in range(3)]

    assert sorted(torch.cat(shares).tolist()) == list(range(103))
    assert {len(batch) for batch in batches} == {14, 15}
    assert not torch.equal(batches[0], epoch_batches(103, batch_size=16, seed=3, epoch=2)[0])

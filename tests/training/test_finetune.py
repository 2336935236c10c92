"""The fine-tune loop: exact over batches, ranks and interruptions."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from training.batches import IGNORED, TokenBatch
from training.checkpoint import CheckpointConfig, Checkpoints
from training.device import choose_placement
from training.finetune import DivergedError, TokenLoss, evaluate, finetune
from training.finetune_config import FinetuneConfig
from training.language_model import packed_loss, token_loss
from training.reporter import Progress
from training.tiny_models import small_gpt2

CONFIG = FinetuneConfig(
    epochs=1, learning_rate=1e-2, precision="fp32", device="cpu", log_every=1, clip_norm=1e9
)


@dataclass(frozen=True)
class Rows:
    """Batches of random rows with a different number of labels each."""

    count: int
    rows: int = 1
    seed: int = 0
    vocabulary: int = 50

    def __len__(self) -> int:
        return self.count // self.rows

    def batch(self, epoch: int, index: int) -> TokenBatch:
        """Returns `rows` rows of 12 tokens."""
        parts = [self._row(epoch, index * self.rows + n) for n in range(self.rows)]
        ids, labels = (torch.stack(part) for part in zip(*parts, strict=True))
        positions = torch.arange(12).expand_as(ids)
        return TokenBatch(ids=ids, labels=labels, positions=positions, num_tokens=ids.numel())

    def _row(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * self.seed + 100 * epoch + index)
        ids = torch.randint(0, self.vocabulary, (12,), generator=generator)
        labels = torch.where(torch.arange(12) < 1 + index % 11, ids.roll(-1), IGNORED)
        return ids, labels


def _model(dropout: float = 0.0) -> nn.Module:
    model = small_gpt2(vocab_size=50, context=16, width=16, layers=2, heads=2)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model


class Bigram(nn.Module):
    """Predicts a token from the one before: what a process needs no transformers for."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Embedding(50, 16), nn.Linear(16, 50)
        self.dropout = nn.Dropout(dropout)

    def loss(self, batch: TokenBatch) -> TokenLoss:
        """Returns the summed loss of `batch`."""
        logits = self.outer(self.dropout(self.inner(batch.ids)))
        return token_loss(logits, batch.labels, count_correct=not self.training)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Record:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.values: list[tuple[int, Mapping[str, float]]] = []
        self.closed = 0

    def step(self, progress: Progress) -> None:
        """Remembers the step."""
        self.steps.append(progress)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Remembers the values."""
        self.values.append((step, values))

    def keep(self) -> None:
        """Has nothing to keep."""

    def close(self) -> None:
        """Counts."""
        self.closed += 1


@dataclass(frozen=True)
class StopAt:
    """A Guard that does not let `step` start."""

    at: int

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:
        """Answers "budget" before that step."""
        assert total_steps >= step
        return "budget" if step == self.at else None


def test_accumulated_small_batches_equal_the_large_one() -> None:
    """Loss, gradient norm and weights agree though the small batches have unequal label counts."""
    results = {}
    for rows, accumulation in ((8, 1), (2, 4), (1, 8)):
        model = _model()
        config = replace(CONFIG, accumulation=accumulation, learning_rate=1e-3)
        result = finetune(model, Rows(16, rows=rows), packed_loss, config=config)
        assert result.steps == 2
        results[rows] = ([(p.loss, p.gradient_norm) for p in result.history], _weights(model))
    for rows in (2, 1):
        for one, other in zip(results[8][0], results[rows][0], strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        torch.testing.assert_close(results[8][1], results[rows][1], rtol=1e-4, atol=1e-6)


def test_ragged_last_step_counts_every_token_once() -> None:
    """Five batches in steps of two: the last step has one, and the token count is exact."""
    batches = Rows(5)
    result = finetune(_model(), batches, packed_loss, config=replace(CONFIG, accumulation=2))
    assert result.steps == 3
    assert result.targets == sum(batches.batch(0, index).num_targets for index in range(5))
    assert result.tokens == 5 * 12


def test_loop_reports_every_step_and_closes_once() -> None:
    """The reporter hears steps, training and validation metrics, and one close."""
    record = Record()
    config = replace(CONFIG, evaluate_every=2)
    result = finetune(
        _model(), Rows(4), packed_loss, config=config, validation=Rows(2, seed=9), reporter=record
    )
    assert [progress.step for progress in record.steps] == [1, 2, 3, 4]
    assert record.steps[-1].unit == "tokens"
    assert record.closed == 1
    assert [evaluation.step for evaluation in result.evaluations] == [0, 2, 4]
    names = set().union(*(values for _, values in record.values))
    assert names >= {
        "train/loss",
        "train/tokens_per_second",
        "train/tokens",
        "validation/loss",
        "validation/perplexity",
        "validation/token_accuracy",
    }


def test_best_weights_are_kept_and_patience_ends_the_run() -> None:
    """Data that only overfit: the run stops early and returns its lowest validation loss."""
    model, validation = _model(), Rows(8, seed=5)
    config = replace(CONFIG, epochs=20, evaluate_every=4, patience=2, learning_rate=3e-2)
    result = finetune(model, Rows(8), packed_loss, config=config, validation=validation)
    losses = {evaluation.step: evaluation.loss for evaluation in result.evaluations}
    assert result.status == "early_stopped"
    assert result.stop_reason == "no lower validation loss in 2 evaluations"
    assert result.steps < result.total_steps
    assert result.best_step == min(losses, key=lambda step: losses[step])
    placement = choose_placement(device="cpu", precision="fp32")
    again = evaluate(model, validation, packed_loss, placement=placement)
    assert again.loss == pytest.approx(losses[result.best_step], rel=1e-6)


def test_the_best_may_be_told_by_accuracy() -> None:
    """Where a hit or a miss is all that counts, a loss that rises decides nothing."""
    evaluations = itertools.count()

    def surer_and_better(model: nn.Module, batch: TokenBatch) -> TokenLoss:
        """Loss 0, 1, 2, ... in the evaluations, with 0, 1, 2, 2, ... hits."""
        told = packed_loss(model, batch)
        if model.training:
            return told
        number = next(evaluations)
        return TokenLoss(told.total * 0 + number, torch.tensor(min(number, 2)))

    config = replace(CONFIG, epochs=9, evaluate_every=4, patience=2, best_by="token_accuracy")
    validation = Rows(1, seed=5)
    result = finetune(_model(), Rows(4), surer_and_better, config=config, validation=validation)
    assert [evaluation.step for evaluation in result.evaluations] == [0, 4, 8, 12, 16]
    assert result.best_step == 8
    assert result.stop_reason == "no higher validation token accuracy in 2 evaluations"


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    """The trained weights agree with and without it."""
    plain, recomputed = _model(), _model()
    finetune(plain, Rows(4), packed_loss, config=CONFIG)
    finetune(recomputed, Rows(4), packed_loss, config=replace(CONFIG, gradient_checkpointing=True))
    torch.testing.assert_close(_weights(plain), _weights(recomputed), rtol=1e-5, atol=1e-6)


def test_guard_stops_and_a_second_attempt_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    """Dropout, best weights and optimiser state all continue where they were."""
    config = replace(CONFIG, epochs=3, evaluate_every=3, accumulation=2)

    def attempt(folder: Path, guard: StopAt | None) -> tuple[dict[str, torch.Tensor], object]:
        model = _model(dropout=0.2)
        checkpoints = Checkpoints(
            folder, identity={"run": "a"}, config=CheckpointConfig(every_steps=4)
        )
        result = finetune(
            model,
            Rows(7),
            packed_loss,
            config=config,
            validation=Rows(3, seed=9),
            checkpoints=checkpoints,
            guard=guard,
        )
        return _weights(model), result

    straight, whole = attempt(tmp_path / "a", None)
    _, first = attempt(tmp_path / "b", StopAt(6))
    assert (first.status, first.stop_reason, first.steps) == ("stopped", "budget", 5)
    resumed, second = attempt(tmp_path / "b", None)
    assert second.resumed_from == 5
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert [p.loss for p in second.history] == [p.loss for p in whole.history]
    assert second.evaluations == whole.evaluations
    assert (second.tokens, second.best_step) == (whole.tokens, whole.best_step)
    done, third = attempt(tmp_path / "b", None)
    assert third.resumed_from == whole.total_steps
    assert all(torch.equal(straight[name], done[name]) for name in straight)


def test_values_are_safe_before_the_checkpoint_that_follows_them(tmp_path: Path) -> None:
    """A kill in the moment that a checkpoint appears loses no value that lies before it."""
    kept: list[tuple[int, list[int]]] = []

    class Keeper(Record):
        def keep(self) -> None:
            steps = [step for step, values in self.values if "train/loss" in values]
            kept.append((len(list(tmp_path.glob("step-*"))), steps))

    checkpoints = Checkpoints(tmp_path, identity={}, config=CheckpointConfig(every_steps=2, keep=9))
    finetune(
        _model(), Rows(5), packed_loss, config=CONFIG, checkpoints=checkpoints, reporter=Keeper()
    )
    assert kept == [(0, [1, 2]), (1, [1, 2, 3, 4]), (2, [1, 2, 3, 4, 5])]


def test_divergence_is_an_error_that_names_the_step() -> None:
    """An infinite loss ends the run, and the reporter is closed all the same."""
    record = Record()

    def broken(model: nn.Module, batch: TokenBatch) -> TokenLoss:
        return TokenLoss(packed_loss(model, batch).total * float("inf"))

    with pytest.raises(DivergedError, match="at step 1 the loss is inf"):
        finetune(_model(), Rows(2), broken, config=CONFIG, reporter=record)
    assert record.closed == 1


def test_nothing_to_train_is_refused() -> None:
    """An empty data set and a frozen model are errors before the first step."""
    with pytest.raises(ValueError, match="has no batch"):
        finetune(_model(), Rows(0), packed_loss, config=CONFIG)
    with pytest.raises(ValueError, match="no trainable parameter"):
        finetune(_model().requires_grad_(requires_grad=False), Rows(2), packed_loss, config=CONFIG)
    with pytest.raises(ValueError, match="does not offer it"):
        finetune(
            nn.Linear(2, 2),
            Rows(2),
            packed_loss,
            config=replace(CONFIG, gradient_checkpointing=True),
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("accumulation", 0), ("learning_rate", 0.0), ("patience", -1), ("beta2", 1.0)],
)
def test_config_refuses_values_that_make_no_sense(field: str, value: float) -> None:
    """Each bad field is named with its value."""
    with pytest.raises(ValueError, match=rf"{field} is {value}"):
        FinetuneConfig(**{field: value})


def test_token_loss_counts_only_what_has_a_label() -> None:
    """Ignored positions add neither loss nor hits."""
    logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]])
    loss = token_loss(logits, torch.tensor([[0, 0, IGNORED]]), count_correct=True)
    assert loss.correct == 1
    assert float(loss.total) == pytest.approx(9.0, abs=1e-3)


TRAIN = """
import json, os, sys, time
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
import test_finetune as t
from training.distributed import process_group

torch.set_num_threads(1)
out, kill_at, dropout = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

class Slow(t.Record):
    def step(self, progress):
        (out / "step").write_text(str(progress.step))
        if progress.step == kill_at:
            time.sleep(60)

with process_group(timeout_seconds=60) as ranks:
    model = t.Bigram(dropout)
    checkpoints = t.Checkpoints(
        out / "checkpoints", identity={}, config=t.CheckpointConfig(every_steps=2)
    )
    result = t.finetune(
        model, t.Rows(9), t.Bigram.loss, config=t.replace(t.CONFIG, epochs=2, evaluate_every=3),
        validation=t.Rows(3, seed=4), checkpoints=checkpoints, reporter=Slow(), ranks=ranks,
    )
    if ranks.is_main:
        torch.save(model.state_dict(), out / "weights.pt")
        (out / "result.json").write_text(json.dumps(
            [result.steps, result.targets, result.resumed_from, [p.loss for p in result.history]]
        ))
"""


def _start(
    out: Path, *, kill_at: int = 0, processes: int = 1, dropout: float = 0.2
) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    script = out / "train.py"
    script.write_text(TRAIN)
    root, tests = Path(__file__).parents[2], Path(__file__).parent
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(script)]
    return subprocess.Popen(
        [*command, str(tests), str(out), str(kill_at), str(dropout)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def test_killed_process_resumes_bit_for_bit(tmp_path: Path) -> None:
    """A kill -9 costs the steps since the last checkpoint and changes nothing else."""
    assert _start(tmp_path / "whole").wait(timeout=120) == 0
    victim = _start(tmp_path / "killed", kill_at=7)
    deadline = time.monotonic() + 120
    progress = tmp_path / "killed" / "step"
    while not (progress.exists() and progress.read_text() == "7"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert _start(tmp_path / "killed").wait(timeout=120) == 0
    whole, killed = (torch.load(tmp_path / d / "weights.pt") for d in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    results = [json.loads((tmp_path / d / "result.json").read_text()) for d in ("whole", "killed")]
    assert results[1][2] == 6
    assert results[0][3] == results[1][3]


def test_two_ranks_equal_one_process_with_accumulation(tmp_path: Path) -> None:
    """DDP over unequal label counts and a ragged last step has the losses of one process."""
    assert _start(tmp_path, processes=2, dropout=0.0).wait(timeout=180) == 0
    steps, targets, _, losses = json.loads((tmp_path / "result.json").read_text())
    model = Bigram(0.0)
    alone = finetune(
        model,
        Rows(9),
        Bigram.loss,
        config=replace(CONFIG, epochs=2, accumulation=2, evaluate_every=3),
        validation=Rows(3, seed=4),
    )
    assert (steps, targets) == (alone.steps, alone.targets)
    assert losses == pytest.approx([point.loss for point in alone.history], rel=1e-5)
    torch.testing.assert_close(torch.load(tmp_path / "weights.pt"), _weights(model))

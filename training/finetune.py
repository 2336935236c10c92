"""The fine-tune loop: full fine-tuning and LoRA, one process or DDP, one function.

It takes a model, batches and a loss function. LoRA changes the model before the loop, which then
sees fewer trainable parameters. The loss of a step is the mean over all its target tokens, on all
ranks and accumulation steps together: N small batches train like the large one.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.batches import Batch, Batches
from training.best import Best
from training.broadcast import share_tensors
from training.checkpoint import Checkpoints, Loaded, pack_optimizer, restore, unpack_optimizer
from training.device import Placement, choose_placement
from training.distributed import Ranks, agree, sum_over_ranks
from training.finetune_config import FinetuneConfig
from training.finetune_result import Evaluation, FinetuneResult, HistoryPoint, Status
from training.reporter import Guard, Progress, Reporter, Silence, Unlimited

__all__ = [
    "DivergedError",
    "Evaluation",
    "FinetuneConfig",
    "FinetuneResult",
    "HistoryPoint",
    "LossFunction",
    "TokenLoss",
    "build_optimizer",
    "enable_gradient_checkpointing",
    "evaluate",
    "finetune",
]

BatchT = TypeVar("BatchT", bound=Batch)


class TokenLoss(NamedTuple):
    """What a loss function returns for one batch."""

    total: Tensor
    """Sum (not mean) of the negative log-likelihoods of the targets, in nats; a scalar."""

    correct: Tensor | None = None
    """Targets that are the most likely token; only needed while the model is in eval mode."""


LossFunction = Callable[[nn.Module, BatchT], TokenLoss]


class DivergedError(ArithmeticError):
    """The loss or the gradient is no longer a finite number."""


class _LossModule(nn.Module, Generic[BatchT]):
    """A model with its loss as its forward pass, which is what DDP must wrap."""

    def __init__(self, model: nn.Module, loss: "LossFunction[BatchT]") -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: BatchT) -> TokenLoss:
        return self._loss(self.model, batch)


def finetune(
    model: nn.Module,
    batches: Batches[BatchT],
    loss: "LossFunction[BatchT]",
    *,
    config: FinetuneConfig,
    validation: Batches[BatchT] | None = None,
    checkpoints: Checkpoints | None = None,
    resume_from: Sequence[Path] = (),
    reporter: Reporter | None = None,
    guard: Guard | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> FinetuneResult:
    """Trains the parameters of `model` that require a gradient, in place.

    Args:
        model: Any module that `loss` understands; moved to the device.
        batches: The training data. Ranks take turns: batch `i` goes to rank `i % world_size`.
        loss: Returns the summed loss of one batch; called inside DDP and autocast.
        config: How to train.
        validation: Data for evaluation, early stopping and the best weights.
        checkpoints: Where rank 0 saves; without it nothing is saved.
        resume_from: Further places to resume from, after the checkpoints' own folder.
        reporter: Hears of every step, on rank 0.
        guard: May end the run before any step; rank 0 asks, all ranks follow.
        ranks: This process among the others, from `process_group`.

    Raises:
        ValueError: There is nothing to train or nothing to train on.
        DivergedError: The loss stopped being finite.
    """
    reporter = reporter if reporter is not None and ranks.is_main else Silence()
    try:
        run = _Run(
            model,
            batches,
            loss,
            config=config,
            validation=validation,
            checkpoints=checkpoints,
            reporter=reporter,
            ranks=ranks,
        )
        return run.run(guard or Unlimited(), resume_from)
    finally:
        reporter.close()


class _Run(Generic[BatchT]):
    """The state of one attempt."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches[BatchT],
        loss: "LossFunction[BatchT]",
        *,
        config: FinetuneConfig,
        validation: Batches[BatchT] | None,
        checkpoints: Checkpoints | None,
        reporter: Reporter,
        ranks: Ranks,
    ) -> None:
        if len(batches) == 0:
            raise ValueError("the training data has no batch; give more data")
        self.placement = choose_placement(
            device=config.device, precision=config.precision, local_rank=ranks.local_rank
        )
        self.model = model.to(self.placement.device)
        self.trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise ValueError("the model has no trainable parameter; unfreeze it or add an adapter")
        if config.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        self.batches, self.loss, self.validation = batches, loss, validation
        self.config, self.ranks, self.reporter = config, ranks, reporter
        self.checkpoints = checkpoints
        self.optimizer = build_optimizer(list(self.trainable.values()), config, self.placement)
        self.total_steps = config.total_steps(len(batches), ranks.world_size)
        self.steps_per_epoch = config.steps_per_epoch(len(batches), ranks.world_size)
        self.step = self.tokens = self.targets = 0
        self.history: list[HistoryPoint] = []
        self.evaluations: list[Evaluation] = []
        self.best = Best()

    def run(self, guard: Guard, resume_from: Sequence[Path]) -> FinetuneResult:
        """Resumes, trains to the end or to a reason to stop, and returns what happened."""
        began = time.perf_counter()
        resumed_from = self._resume(resume_from)
        module: nn.Module = _LossModule(self.model, self.loss)
        if self.ranks.world_size > 1:
            # Every rank starts from rank 0's weights. Gradients live in the all-reduce buffers.
            module = DistributedDataParallel(
                module, gradient_as_bucket_view=True, broadcast_buffers=False
            )
        step_seconds: list[float] = []
        status, reason = self._stopped_before(), None
        if resumed_from is None:
            self._evaluate()

        while status is None and self.step < self.total_steps:
            reason = guard.stop_reason(step=self.step + 1, total_steps=self.total_steps)
            reason = agree(reason, self.ranks)
            if reason is not None:
                status = "stopped"
                self._save()
                break

            self._train_step(module, step_seconds)

            last = self.step == self.total_steps
            if last or (self.config.evaluate_every and self.step % self.config.evaluate_every == 0):
                self._evaluate()
                status = self._stopped_before()
            if last or status is not None or self._is_save_due():
                self._save()

        if status == "early_stopped":
            better = {"loss": "lower", "token_accuracy": "higher"}[self.config.best_by]
            figure = self.config.best_by.replace("_", " ")
            reason = f"no {better} validation {figure} in {self.config.patience} evaluations"
        if self.config.keep_best and status != "stopped":
            self.best.put_back(self.trainable)
        return FinetuneResult(
            status=status or "completed",
            stop_reason=reason,
            steps=self.step,
            total_steps=self.total_steps,
            tokens=self.tokens,
            targets=self.targets,
            history=tuple(self.history),
            evaluations=tuple(self.evaluations),
            best_step=self.best.step,
            seconds=time.perf_counter() - began,
            step_seconds=tuple(step_seconds),
            resumed_from=resumed_from,
        )

    def _train_step(self, module: nn.Module, step_seconds: list[float]) -> None:
        """Takes one optimiser step and reports it."""
        began = time.perf_counter()
        device, config = self.placement.device, self.config
        micro = self._micro_batches(*divmod(self.step, self.steps_per_epoch))
        mine = [sum(batch.num_targets for batch, counts in micro if counts)]
        mine += [sum(batch.num_tokens for batch, counts in micro if counts)]
        targets, tokens = sum_over_ranks(mine, self.ranks)
        # DDP averages over ranks what must be summed.
        scale = self.ranks.world_size / max(1.0, targets)
        learning_rate = config.learning_rate_at(self.step + 1, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

        module.train()
        total = torch.zeros((), device=device)
        for number, (batch, counts) in enumerate(micro):
            # Dropout depends on the step alone, so a resumed run draws what the killed one did.
            torch.manual_seed(_seed(config.seed, self.step, number, self.ranks.rank))
            with self._sync(module, last=number == len(micro) - 1):
                with self.placement.autocast():
                    value: Tensor = module(batch.to(device)).total
                (value * (scale if counts else 0.0)).backward()  # type: ignore[no-untyped-call]
            if counts:
                total += value.detach()
        norm = nn.utils.clip_grad_norm_(self.trainable.values(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=self.ranks.world_size == 1)

        self.step += 1
        self.tokens += int(tokens)
        self.targets += int(targets)
        log = self.step % config.log_every == 0 or self.step in (1, self.total_steps)
        mean = None
        if log or self.placement.device.type == "cpu":
            mean = sum_over_ranks([float(total)], self.ranks)[0] / max(1.0, targets)
        seconds = time.perf_counter() - began
        step_seconds.append(seconds)
        self._report(mean, norm, learning_rate, tokens / seconds, log=log)

    def _micro_batches(self, epoch: int, index: int) -> list[tuple[BatchT, bool]]:
        """Returns this rank's batches of one step, each with whether it counts.

        At the end of an epoch some ranks may be left without a batch. They repeat the last one
        with weight zero, because all ranks have to take part in the all-reduce.
        """
        count, world = len(self.batches), self.ranks.world_size
        first = index * self.config.accumulation * world
        rounds = range(first, min(count, first + self.config.accumulation * world), world)
        indices = [start + self.ranks.rank for start in rounds]
        return [(self.batches.batch(epoch, min(i, count - 1)), i < count) for i in indices]

    def _sync(self, module: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Keeps DDP from exchanging gradients before the last batch of a step."""
        if isinstance(module, DistributedDataParallel) and not last:
            return module.no_sync()
        return nullcontext()

    def _report(
        self, mean: float | None, norm: Tensor, learning_rate: float, speed: float, *, log: bool
    ) -> None:
        if mean is not None and not (math.isfinite(mean) and math.isfinite(float(norm))):
            raise DivergedError(
                f"at step {self.step} the loss is {mean} and the gradient's norm {float(norm)}; "
                f"lower learning_rate ({self.config.learning_rate}) or check the data"
            )
        self.reporter.step(
            Progress(
                step=self.step,
                total_steps=self.total_steps,
                epoch=(self.step - 1) // self.steps_per_epoch + 1,
                epochs=math.ceil(self.total_steps / self.steps_per_epoch),
                loss=mean,
                items_per_second=speed,
                unit="tokens",
            )
        )
        if log and mean is not None:
            point = HistoryPoint(
                step=self.step,
                loss=mean,
                learning_rate=learning_rate,
                gradient_norm=float(norm),
                tokens_per_second=speed,
            )
            self.history.append(point)
            values = {f"train/{k}": v for k, v in asdict(point).items() if k != "step"}
            self.reporter.metrics(values | {"train/tokens": self.tokens}, step=self.step)

    def _evaluate(self) -> None:
        """Measures the validation data and keeps the weights if they are the best so far."""
        if self.validation is None:
            return
        evaluation = evaluate(
            self.model,
            self.validation,
            self.loss,
            placement=self.placement,
            ranks=self.ranks,
            step=self.step,
        )
        self.evaluations.append(evaluation)
        scores = {"loss": -evaluation.loss, "token_accuracy": evaluation.token_accuracy}
        self.best.consider(scores[self.config.best_by], self.step, self.trainable)
        self.reporter.metrics(evaluation.metrics(), step=self.step)

    def _stopped_before(self) -> Status | None:
        """Says whether the evaluations so far end the run early."""
        patience = self.config.patience
        since = [e for e in self.evaluations if e.step > (self.best.step or 0)]
        return "early_stopped" if patience and len(since) >= patience else None

    def _is_save_due(self) -> bool:
        return (
            self.checkpoints is not None and self.ranks.is_main and self.checkpoints.due(self.step)
        )

    def _save(self) -> None:
        """Writes everything that a later attempt needs; rank 0 alone."""
        if self.checkpoints is None or not self.ranks.is_main:
            return
        self.reporter.keep()
        optimizer_tensors, optimizer_state = pack_optimizer(self.optimizer)
        weights = {f"model/{name}": p.detach() for name, p in self.trainable.items()}
        self.checkpoints.save(
            step=self.step,
            tensors={**weights, **self.best.tensors(), **optimizer_tensors},
            state={
                "optimizer": optimizer_state,
                "tokens": self.tokens,
                "targets": self.targets,
                "history": [asdict(point) for point in self.history],
                "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
                "best": self.best.state(),
            },
        )

    def _resume(self, resume_from: Sequence[Path]) -> int | None:
        """Continues from the newest checkpoint that rank 0 finds; returns its step."""
        if self.checkpoints is None:
            return None
        loaded: Loaded | None = None
        if self.ranks.is_main:
            places = [self.checkpoints.folder, *resume_from]
            loaded = restore(places, identity=self.checkpoints.identity)
        found = json.dumps([loaded.step, loaded.state]) if loaded else None
        message = agree(found, self.ranks)
        if message is None:
            return None
        self.step, state = json.loads(message)
        tensors = share_tensors(loaded.tensors if loaded else {}, self.ranks)
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(tensors[f"model/{name}"])
        unpack_optimizer(self.optimizer, tensors, state["optimizer"])
        self.tokens, self.targets = state["tokens"], state["targets"]
        self.history = [HistoryPoint(**point) for point in state["history"]]
        self.evaluations = [Evaluation(**values) for values in state["evaluations"]]
        self.best = Best.restored(tensors, state["best"])
        return self.step


def build_optimizer(
    parameters: Sequence[nn.Parameter], config: FinetuneConfig, placement: Placement
) -> torch.optim.AdamW:
    """Returns AdamW, fused where the device has it, with weight decay for matrices alone."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=placement.device.type in ("cpu", "cuda"),
    )


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Makes a transformers model (or one that wraps it) recompute its activations.

    Raises:
        ValueError: The model does not offer it.
    """
    # The re-entrant kind loses the gradient of adapters, whose input needs none.
    options = {"use_reentrant": False}
    # Newer transformers call it activation checkpointing.
    for kind in ("activation", "gradient"):
        enable = getattr(model, f"{kind}_checkpointing_enable", None)
        if enable is not None:
            enable(**{f"{kind}_checkpointing_kwargs": options})
            return
    raise ValueError(
        f"gradient_checkpointing is on, and {type(model).__name__} does not offer it; turn it off"
    )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Batches[BatchT],
    loss: "LossFunction[BatchT]",
    *,
    placement: Placement,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    step: int = 0,
) -> Evaluation:
    """Measures `batches` with the model in eval mode; ranks share the work.

    Raises:
        ValueError: There is no target token.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros((), device=placement.device, dtype=torch.float64)
    correct = torch.zeros((), device=placement.device, dtype=torch.float64)
    targets = 0
    for index in range(ranks.rank, len(batches), ranks.world_size):
        batch = batches.batch(0, index)
        with placement.autocast():
            value = loss(model, batch.to(placement.device))
        total += value.total
        if value.correct is not None:
            correct += value.correct
        targets += batch.num_targets
    model.train(was_training)
    sums = sum_over_ranks([float(total), float(correct), targets], ranks)
    if not sums[2]:
        raise ValueError("the validation data has no token to predict; give more data")
    return Evaluation(
        step=step,
        loss=sums[0] / sums[2],
        token_accuracy=sums[1] / sums[2],
        num_targets=int(sums[2]),
    )


def _seed(*parts: int) -> int:
    """Mixes a few numbers into one seed; equal parts, equal seed."""
    seed = 0
    for part in parts:
        seed = (seed * 1_000_003 + part + 1) % (1 << 63)
    return seed

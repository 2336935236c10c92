"""The loop that trains an image classifier, the same for one process and for DDP.

B pictures in a batch over all ranks, b of them on this one, K classes.

Every random number of a step follows from the seed, the step and the rank, and the learning rate
from the step. So a checkpoint needs no generator states, and a resumed run repeats what it lost.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from training.checkpoint import CheckpointConfig, Checkpoints, restore
from training.classifier_config import ClassifierConfig
from training.cnn import MODEL_FILE, CNNConfig, ImageCNN, save_cnn
from training.device import Placement, choose_placement, keep_freed_memory
from training.distributed import Ranks, agree, from_main, text_from_main
from training.image_data import ImageData
from training.reporter import Guard, Progress, Reporter, Silence, Unlimited
from training.resident_images import ResidentImages
from training.run_state import RunState
from training.schedule import learning_rate_factor
from training.sharding import derived_seed, epoch_batches, steps_per_epoch
from training.step_clock import StepClock
from training.training_result import EpochRecord, TrainingResult

INITIAL_WEIGHTS, STEP = 0, 2
"""What a derived seed is for; the order of an epoch has 1."""


class DivergedError(ArithmeticError):
    """The loss is no longer a number."""


def train_classifier(
    config: ClassifierConfig,
    data: ImageData,
    *,
    out: Path,
    ranks: Ranks | None = None,
    checkpoint_folder: Path | None = None,
    resume_from: Sequence[Path] = (),
    checkpoint_config: CheckpointConfig | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
    reporter: Reporter | None = None,
    guard: Guard | None = None,
) -> TrainingResult:
    """Trains an `ImageCNN`, resuming from a checkpoint where there is a valid one.

    The gradient of every step is that of the mean loss over its B pictures, however many ranks
    share them, so neither learning rate nor batch size changes with the world size.

    Args:
        config: How to train.
        data: What to train on, and the held-out pictures that are scored and never trained on.
        out: The folder for the model; rank 0 writes it.
        ranks: This process among the others, from `process_group`.
        checkpoint_folder: Where rank 0 writes checkpoints, and the first place to resume from;
            without it none are written.
        resume_from: Further places to resume from, in order of preference.
        checkpoint_config: When to write them.
        on_checkpoint: Called on rank 0 with each finished checkpoint.
        reporter: Told of every step and epoch on rank 0; closed at the end.
        guard: Asked on rank 0 before every step. When it has a reason to stop, all ranks stop at
            that step, a checkpoint is written, and the result has status "stopped".

    Reported metrics, per epoch: `train_loss`, `train_accuracy`, `test_loss`, `test_accuracy`,
    `learning_rate`, `images_per_second`, `train_seconds`, `epoch`.
    """
    ranks = ranks or Ranks()
    reporter = (reporter if ranks.is_main else None) or Silence()
    epochs = config.epochs_for(len(data.train))
    try:
        return _train(
            replace(
                config,
                epochs=epochs,
                batch_size=config.batch_size_for(len(data.train)),
                shift_pixels=config.shift_pixels_for(len(data.train)),
            ),
            epochs,
            data,
            out=out,
            ranks=ranks,
            checkpoint_folder=checkpoint_folder,
            resume_from=resume_from,
            checkpoint_config=checkpoint_config,
            on_checkpoint=on_checkpoint,
            reporter=reporter,
            guard=guard or Unlimited(),
        )
    finally:
        reporter.close()


def _train(
    config: ClassifierConfig,
    epochs: int,
    data: ImageData,
    *,
    out: Path,
    ranks: Ranks,
    checkpoint_folder: Path | None,
    resume_from: Sequence[Path],
    checkpoint_config: CheckpointConfig | None,
    on_checkpoint: Callable[[Path], None] | None,
    reporter: Reporter,
    guard: Guard,
) -> TrainingResult:
    placement = choose_placement(
        device=config.device, precision=config.precision, local_rank=ranks.local_rank
    )
    if placement.device.type == "cpu":
        keep_freed_memory()
    shift_pixels = config.shift_pixels_for(len(data.train))
    pictures = ResidentImages(data, shift_pixels=shift_pixels, placement=placement)
    model, optimizer = _build(config, data, placement)
    batch_size = config.batch_size_for(len(data.train))
    epoch_steps = steps_per_epoch(len(data.train), batch_size)
    total_steps = epochs * epoch_steps

    identity = _identity(config, data)
    checkpoints = None
    if checkpoint_folder is not None:
        resume_from = (checkpoint_folder, *resume_from)
        checkpoints = Checkpoints(
            checkpoint_folder, identity=identity, config=checkpoint_config, on_saved=on_checkpoint
        )
    run = RunState(model, optimizer, device=placement.device)
    loaded = restore(resume_from, identity=identity, ranks=ranks)
    if loaded is not None:
        run.resume(loaded, ranks)
    resumed_from_step = run.step

    network = _parallel(model, placement, ranks).train()
    batches: list[Tensor] = []
    stop_reason = None
    clock = StepClock(placement)
    while run.step < total_steps:
        stop_reason, is_due = _ask(guard, checkpoints, run.step, total_steps, ranks)
        if checkpoints is not None and (is_due or stop_reason is not None):
            run.add_seconds(clock.flush())
            reporter.keep()
            run.save(checkpoints, ranks)
            clock.skip()
        if stop_reason is not None:
            break
        epoch, step_in_epoch = divmod(run.step, epoch_steps)
        if not batches or step_in_epoch == 0:
            batches = epoch_batches(
                len(data.train), batch_size=batch_size, seed=config.seed, epoch=epoch
            )
        learning_rate = _set_learning_rate(optimizer, config, run.step, total_steps)

        torch.manual_seed(derived_seed(config.seed, STEP, run.step, ranks.rank))
        batch = batches[step_in_epoch]  # (B,)
        images, labels, weight = pictures.training_batch(batch, ranks)  # (b, H, W), (b,)
        with placement.autocast():
            logits = network(images)  # (b, K)
        loss_sum = weight * F.cross_entropy(
            logits.float(), labels, label_smoothing=config.label_smoothing, reduction="sum"
        )
        # DDP takes the mean over ranks: with this factor it is the mean over the B pictures.
        torch.autograd.backward(loss_sum * (ranks.world_size / len(batch)))
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        run.count(loss_sum.detach(), weight * (logits.argmax(1) == labels).sum())
        is_epoch_end = step_in_epoch == epoch_steps - 1
        loss = None
        if is_reading := is_epoch_end or clock.is_reading(run.step):
            loss = _finite(
                float(loss_sum.detach()) * ranks.world_size / len(batch), run.step, config
            )
        run.add_seconds(clock.tick(is_reading=is_reading))
        reporter.step(
            Progress(
                step=run.step,
                total_steps=total_steps,
                epoch=epoch + 1,
                epochs=epochs,
                loss=loss,
                items_per_second=clock.rate(len(batch)),
            )
        )

        if is_epoch_end:
            begin = time.perf_counter()
            is_scored = config.evaluate_epochs or run.step == total_steps
            scores = pictures.score(model, ranks) if is_scored else None
            record = run.finish_epoch(
                epoch + 1,
                train_count=len(data.train),
                learning_rate=learning_rate,
                scores=scores,
                test_seconds=time.perf_counter() - begin,
                ranks=ranks,
            )
            reporter.metrics(_metrics(record), step=run.step)
            clock.skip()

    if checkpoints is not None and stop_reason is None:
        reporter.keep()
        run.save(checkpoints, ranks)
    # Every rank has the same weights; one writes them.
    model_sha256 = text_from_main(save_cnn(model, out) if ranks.is_main else "", ranks)
    return TrainingResult(
        status="completed" if stop_reason is None else "stopped",
        stop_reason=stop_reason,
        steps=run.step,
        total_steps=total_steps,
        resumed_from_step=resumed_from_step,
        epochs=epochs,
        history=tuple(run.history),
        train_seconds=run.train_seconds,
        step_seconds=tuple(clock.seconds),
        model_file=MODEL_FILE,
        model_sha256=model_sha256,
        dataset_sha256=data.manifest.sha256,
        config=asdict(config),
        device=placement.device.type,
        precision=placement.precision,
        world_size=ranks.world_size,
    )


def _build(
    config: ClassifierConfig, data: ImageData, placement: Placement
) -> tuple[ImageCNN, torch.optim.Optimizer]:
    """Makes the model, with weights that follow from the seed alone, and its optimiser."""
    torch.manual_seed(derived_seed(config.seed, INITIAL_WEIGHTS))
    model = ImageCNN(CNNConfig.for_data(data.manifest))
    model = model.to(placement.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=placement.device.type in ("cpu", "cuda"),
    )
    return model, optimizer


def _parallel(model: ImageCNN, placement: Placement, ranks: Ranks) -> nn.Module:
    """Wraps the model so that backward passes exchange gradients, where there are several ranks."""
    if ranks.world_size == 1:
        return model
    return DistributedDataParallel(
        model,
        device_ids=[placement.device] if placement.is_cuda else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def _ask(
    guard: Guard, checkpoints: Checkpoints | None, step: int, total_steps: int, ranks: Ranks
) -> tuple[str | None, bool]:
    """Returns, on every rank, rank 0's reason to stop and whether a checkpoint is due."""
    reason, is_due = None, False
    if ranks.is_main:
        reason = guard.stop_reason(step=step, total_steps=total_steps)
        is_due = checkpoints is not None and checkpoints.due(step)
    has_reason, due = from_main([reason is not None, is_due], ranks)
    return (agree(reason, ranks) if has_reason else None), bool(due)


def _set_learning_rate(
    optimizer: torch.optim.Optimizer, config: ClassifierConfig, step: int, total_steps: int
) -> float:
    factor = learning_rate_factor(
        step, total_steps, schedule=config.schedule, warmup_fraction=config.warmup_fraction
    )
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor
    return config.learning_rate * factor


def _finite(loss: float, step: int, config: ClassifierConfig) -> float:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the training loss is {loss} at step {step}; "
            f"lower learning_rate, which is {config.learning_rate}"
        )
    return loss


def _identity(config: ClassifierConfig, data: ImageData) -> dict[str, str | int | float | bool]:
    """What makes a run the same run; the world size may change, only the bits depend on it."""
    fields = {name: value for name, value in asdict(config).items() if name != "device"}
    return {"kind": "image-cnn", "data": data.manifest.sha256, "images": len(data.train), **fields}


def _metrics(record: EpochRecord) -> dict[str, float]:
    named = {name: value for name, value in asdict(record).items() if value is not None}
    return {name: float(value) for name, value in named.items() if name != "step"}

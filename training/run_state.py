"""Where a training run of a classifier stands: what a checkpoint keeps beside the weights."""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoints, Loaded, pack_optimizer, unpack_optimizer
from training.distributed import Ranks, sum_over_ranks
from training.resident_images import Scores
from training.training_result import EpochRecord

MODEL_PREFIX = "model/"


class RunState:
    """The position of a run, the running sums of its epoch and the epochs behind it."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, device: torch.device
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self.step = 0
        self.history: list[EpochRecord] = []
        self.train_seconds = 0.0
        """In training steps so far, over all attempts."""

        self._epoch_seconds = 0.0
        # The loss and the right answers of this rank in this epoch; Apple's GPUs have no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(2, dtype=dtype, device=device)

    def count(self, loss_sum: Tensor, correct: Tensor) -> None:
        """Adds a step's sums over this rank's pictures, without waiting for the device."""
        self.step += 1
        self._sums += torch.stack([loss_sum.to(self._sums), correct.to(self._sums)])

    def add_seconds(self, seconds: float) -> None:
        """Adds time spent in training steps."""
        self.train_seconds += seconds
        self._epoch_seconds += seconds

    def finish_epoch(
        self,
        epoch: int,
        *,
        train_count: int,
        learning_rate: float,
        scores: Scores | None,
        test_seconds: float,
        ranks: Ranks,
    ) -> EpochRecord:
        """Closes an epoch: reduces its sums over the ranks and begins new ones."""
        loss_sum, correct = sum_over_ranks(self._sums.tolist(), ranks)
        record = EpochRecord(
            epoch=epoch,
            step=self.step,
            train_loss=loss_sum / train_count,
            train_accuracy=correct / train_count,
            test_loss=scores.loss if scores else None,
            test_accuracy=scores.accuracy if scores else None,
            learning_rate=learning_rate,
            images_per_second=train_count / self._epoch_seconds,
            train_seconds=self._epoch_seconds,
            test_seconds=test_seconds,
        )
        self.history.append(record)
        self._sums.zero_()
        self._epoch_seconds = 0.0
        return record

    def save(self, checkpoints: Checkpoints, ranks: Ranks) -> None:
        """Writes a checkpoint on rank 0; every rank must call it, for the sums are reduced."""
        sums = sum_over_ranks(self._sums.tolist(), ranks)
        if not ranks.is_main:
            return
        tensors, optimizer = pack_optimizer(self._optimizer)
        weights = {MODEL_PREFIX + name: t for name, t in self._model.state_dict().items()}
        checkpoints.save(
            step=self.step,
            tensors=weights | tensors,
            state={
                "optimizer": optimizer,
                "history": [asdict(record) for record in self.history],
                "train_seconds": self.train_seconds,
                "epoch_seconds": self._epoch_seconds,
                "epoch_sums": sums,
            },
        )

    def resume(self, loaded: Loaded, ranks: Ranks) -> None:
        """Takes over a checkpoint; its sums go to rank 0, since the ranks' sums are added."""
        weights = {
            name.removeprefix(MODEL_PREFIX): tensor
            for name, tensor in loaded.tensors.items()
            if name.startswith(MODEL_PREFIX)
        }
        self._model.load_state_dict(weights)
        unpack_optimizer(self._optimizer, loaded.tensors, loaded.state["optimizer"])
        self.step = loaded.step
        self.history = [EpochRecord(**record) for record in loaded.state["history"]]
        self.train_seconds = loaded.state["train_seconds"]
        self._epoch_seconds = loaded.state["epoch_seconds"]
        if ranks.is_main:
            self._sums.copy_(torch.tensor(loaded.state["epoch_sums"], dtype=torch.float64))

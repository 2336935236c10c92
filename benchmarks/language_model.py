"""Full fine-tuning: tokens per second against transformers' Trainer, same work in one run.

Both train the same small GPT-2 from the same weights on the same packed blocks, batch size,
precision, optimiser and learning rate. The loss of the first step must agree, or nothing is
reported. Run it with `python -m benchmarks.language_model`; the peer needs `accelerate`
(`pip install 'oppen[bench]'`).
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.stopwatch import Stopwatch, our_config
from training.batches import IGNORED, TokenBatch
from training.device import choose_placement
from training.finetune import finetune
from training.language_model import choose_attention, choose_loss
from training.text_data import PackedText, TextConfig, prepare_text
from training.tiny_models import small_gpt2

LEARNING_RATE = 5e-4
SKIPPED_STEPS = 2
"""First steps that are not timed: they allocate and choose kernels."""


class WholeBlocks:
    """Blocks without document boundaries, as the peer's collator sees them."""

    def __init__(self, text: PackedText, batch_size: int, steps: int) -> None:
        self._text, self._batch_size, self._steps = text, batch_size, steps

    def __len__(self) -> int:
        """Returns the number of steps."""
        return self._steps

    def batch(self, epoch: int, index: int) -> TokenBatch:  # noqa: ARG002 - one epoch
        """Returns blocks in their order, every next token a label."""
        rows = [(index * self._batch_size + n) % len(self._text) for n in range(self._batch_size)]
        ids = self._text.batch(rows).ids
        labels = torch.full_like(ids, IGNORED)
        labels[:, :-1] = ids[:, 1:]
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        return TokenBatch(ids=ids, labels=labels, positions=positions, num_tokens=ids.numel())


def measure_ours(model: Any, batches: WholeBlocks, precision: str) -> tuple[float, list[float]]:
    """Returns the loss of the first step and the seconds of every step."""
    config = our_config(LEARNING_RATE, precision)
    placement = choose_placement(device=config.device, precision=config.precision)
    choose_attention(model, placement=placement, num_tokens=batches.batch(0, 0).ids.shape[1])
    result = finetune(model, batches, choose_loss(model), config=config)
    return result.history[0].loss, list(result.step_seconds)


def measure_trainer(
    model: Any, batches: WholeBlocks, batch_size: int, precision: str
) -> tuple[float, list[float]]:
    """Trains with transformers' Trainer; returns what `measure_ours` does."""
    from transformers import Trainer, TrainingArguments

    rows = [row for step in range(len(batches)) for row in batches.batch(0, step).ids]
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=len(batches),
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            logging_steps=1,
            save_strategy="no",
            train_sampling_strategy="sequential",
            report_to=[],
            disable_tqdm=True,
            use_cpu=choose_placement().device.type == "cpu",
        )
        Trainer(
            model=model,
            args=arguments,
            # The peer divides by all labels, also the first, which nothing predicts.
            train_dataset=[
                {"input_ids": row, "labels": torch.cat([torch.tensor([IGNORED]), row[1:]])}
                for row in rows
            ],
            callbacks=[watch.callback()],
        ).train()
    return watch.losses[0], watch.seconds


def plain(model: Any) -> Any:
    """Returns the model as transformers builds it from its config, with the same weights."""
    stock = type(model)(model.config)
    stock.load_state_dict(model.state_dict())
    return stock


def main() -> int:
    """Measures both in turn and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--block-size", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    options = parser.parse_args()
    precision = choose_placement(precision=options.precision).precision
    has_peer = importlib.util.find_spec("accelerate") is not None
    seconds: dict[str, list[float]] = {"oppen": [], "Trainer": []}
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = TextConfig(vocab_size=options.vocab_size, block_size=options.block_size)
        prepare_text(config, Path(folder) / "text")
        text = PackedText(Path(folder) / "text", "train")
        batches = WholeBlocks(text, options.batch_size, options.steps)

        def model() -> Any:
            return small_gpt2(
                vocab_size=text.manifest.vocab_size,
                context=options.block_size,
                width=384,
                layers=6,
                heads=6,
            )

        for _ in range(options.rounds):
            first["oppen"], times = measure_ours(model(), batches, precision)
            seconds["oppen"] += times[SKIPPED_STEPS:]
            if has_peer:
                first["Trainer"], times = measure_trainer(
                    plain(model()), batches, options.batch_size, precision
                )
                seconds["Trainer"] += times[SKIPPED_STEPS:]
    tokens = options.batch_size * options.block_size
    rates = {name: tokens / statistics.median(times) for name, times in seconds.items() if times}
    for name, rate in rates.items():
        print(f"{name:8} {rate:10.0f} tokens/s   loss of the first step {first[name]:.4f}")
    if not has_peer:
        print("Trainer is not measured: accelerate is missing; pip install 'oppen[bench]'")
        return 0
    if abs(first["oppen"] - first["Trainer"]) > (1e-3 if precision == "fp32" else 2e-2):
        print("the first losses differ: the two do not do the same work")
        return 1
    print(f"oppen is {rates['oppen'] / rates['Trainer']:.2f} times as fast ({precision})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

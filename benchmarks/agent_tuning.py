"""LoRA on an agent's conversations: time per step against TRL's SFTTrainer, same work in one run.

Every batch has 8 conversations that share about 400 tokens of tool declarations. Both train the
same adapter on the same Gemma-3-architecture model, data, precision and learning rate, with loss
on the answers alone; the loss of the first step must agree. TRL is given completion-only loss,
fused AdamW and no padding to a multiple, in plain batches; its padding-free mode was not tried.
Run it with `python -m benchmarks.agent_tuning`; the peer needs `trl`
(`pip install 'oppen[bench]'`).
"""

import argparse
import importlib.util
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.stopwatch import Stopwatch, our_config
from training.conversations import Conversation, tokenise_all
from training.device import choose_placement
from training.finetune import finetune
from training.lora import LINEAR_LAYERS, LoraConfig, add_adapter
from training.shared_prefix import ConversationBatches, answer_loss
from training.tiny_models import conversation_tokenizer, small_gemma

LEARNING_RATE = 1e-4
RANK = 8
SKIPPED_STEPS = 1
"""First steps that are not timed: they allocate and choose kernels."""

VERBS = ("restart", "inspect", "scale", "suspend", "resume", "drain")
NAMES = ("grafana", "loki", "jellyfin", "postgres", "traefik", "longhorn", "velero", "redis")


def conversations(count: int, *, num_tools: int) -> list[dict[str, Any]]:
    """Makes up requests with one call each, all with the same declarations."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"{verb}_workload",
                "description": f"Asks the cluster to {verb} one workload of a namespace.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "description": "Name of the workload."},
                        "namespace": {"type": "string", "description": "Where it runs."},
                    },
                    "required": ["name", "namespace"],
                },
            },
        }
        for verb in VERBS[:num_tools]
    ]
    draw = random.Random(0)
    records = []
    for number in range(count):
        verb, name = draw.choice(VERBS[:num_tools]), draw.choice(NAMES)
        arguments = {"name": f"{name}-{number % 7}", "namespace": draw.choice(NAMES)}
        call = {
            "type": "function",
            "function": {"name": f"{verb}_workload", "arguments": arguments},
        }
        request = f"Please {verb} {arguments['name']} in {arguments['namespace']}, it is not well."
        records.append(
            {
                "messages": [
                    {"role": "developer", "content": "You call functions"},
                    {"role": "user", "content": request},
                    {"role": "assistant", "content": "", "tool_calls": [call]},
                ],
                "tools": tools,
            }
        )
    return records


def measure_ours(
    model: Any, data: Sequence[Conversation], batch_size: int, precision: str
) -> tuple[float, list[float]]:
    """Returns the loss of the first step and the seconds of every step."""
    batches = ConversationBatches(data, batch_size=batch_size, padding_id=0, shuffle=False)
    result = finetune(model, batches, answer_loss, config=our_config(LEARNING_RATE, precision))
    return result.history[0].loss, list(result.step_seconds)


def measure_trl(
    model: Any, tokenizer: Any, data: Sequence[Conversation], batch_size: int, precision: str
) -> tuple[float, list[float]]:
    """Trains with TRL's SFTTrainer on the same tokens; returns what `measure_ours` does."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    watch = Stopwatch()
    rows = [
        {
            "input_ids": list(c.ids),
            "completion_mask": [
                int(any(a <= i < b for a, b in c.answers)) for i in range(len(c.ids))
            ],
        }
        for c in data
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            completion_only_loss=True,
            gradient_checkpointing=False,
            max_length=None,
            logging_steps=1,
            save_strategy="no",
            train_sampling_strategy="sequential",
            report_to=[],
            disable_tqdm=True,
            use_cpu=choose_placement().device.type == "cpu",
        )
        SFTTrainer(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            callbacks=[watch.callback()],
        ).train()
    return watch.losses[0], watch.seconds


def main() -> int:
    """Measures both in turn and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tools", type=int, default=5, choices=range(1, len(VERBS) + 1))
    parser.add_argument("--vocab-size", type=int, default=32768, help="rows of the embedding")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    options = parser.parse_args()
    precision = choose_placement(precision=options.precision).precision
    has_peer = importlib.util.find_spec("trl") is not None
    records = conversations(options.steps * options.batch_size, num_tools=options.tools)
    tokenizer = conversation_tokenizer(records, vocab_size=512)
    data = tokenise_all(records, tokenizer)

    def model() -> Any:
        # As in the 270M model, most of the parameters are the embedding's.
        base = small_gemma(
            tokenizer=tokenizer,
            width=256,
            layers=6,
            heads=4,
            head_size=64,
            sliding_window=512,
            vocab_size=options.vocab_size,
        )
        return add_adapter(base, LoraConfig(rank=RANK, target_modules=LINEAR_LAYERS))

    seconds: dict[str, list[float]] = {"oppen": [], "SFTTrainer": []}
    first: dict[str, float] = {}
    for _ in range(options.rounds):
        first["oppen"], times = measure_ours(model(), data, options.batch_size, precision)
        seconds["oppen"] += times[SKIPPED_STEPS:]
        if has_peer:
            first["SFTTrainer"], times = measure_trl(
                model(), tokenizer, data, options.batch_size, precision
            )
            seconds["SFTTrainer"] += times[SKIPPED_STEPS:]
    print(f"{data[0].tools_length} shared tokens, {options.batch_size} conversations a step")
    steps = {name: statistics.median(times) for name, times in seconds.items() if times}
    tokens = statistics.mean(len(c.ids) for c in data) * options.batch_size
    for name, step in steps.items():
        print(
            f"{name:10} {step:8.3f} s/step {tokens / step:10.0f} tokens/s   "
            f"loss of the first step {first[name]:.4f}"
        )
    if not has_peer:
        print("SFTTrainer is not measured: trl is missing; pip install 'oppen[bench]'")
        return 0
    if abs(first["oppen"] - first["SFTTrainer"]) > (1e-3 if precision == "fp32" else 2e-2):
        print("the first losses differ: the two do not do the same work")
        return 1
    print(f"oppen is {steps['SFTTrainer'] / steps['oppen']:.1f} times as fast ({precision})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

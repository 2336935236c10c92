"""How a language model is trained; without torch, so that light tasks can read it."""

from dataclasses import dataclass, field

from training.finetune_config import FinetuneConfig

SMALL_GPT2 = "small-gpt2"
"""A GPT-2 of a few layers with random weights and a tokenizer trained on the corpus: no hub."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """How a base model is tuned on packed text."""

    batch_size: int = 8
    """Blocks of one forward pass of one process."""

    lora_rank: int = 0
    """Rank of a LoRA adapter, merged after training; 0 tunes all weights."""

    lora_targets: tuple[str, ...] = ("c_attn", "c_proj", "c_fc")
    """Layers that get an adapter; the default fits GPT-2 and its like."""

    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """The loop's own settings."""

    sample_prompts: tuple[str, ...] = ("The", "A function is", "When the")
    """What the tuned model goes on from, for people to read."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is {self.lora_rank}; give 0 to tune all weights, or more")

    def tokens_to_train(
        self, num_train_tokens: int, *, block_size: int, world_size: int = 1
    ) -> int:
        """Tokens of all steps together, padding of the last block included.

        >>> LanguageConfig(batch_size=2).tokens_to_train(1_000, block_size=100)
        1000
        """
        blocks = -(-num_train_tokens // block_size)
        batches = -(-blocks // self.batch_size)
        steps = self.finetune.total_steps(batches, world_size)
        step_batches = world_size * self.finetune.accumulation
        per_epoch = self.finetune.steps_per_epoch(batches, world_size)
        whole, rest = divmod(steps, per_epoch)
        rest_blocks = min(rest * step_batches * self.batch_size, blocks)
        return (whole * blocks + rest_blocks) * block_size

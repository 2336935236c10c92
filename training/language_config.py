"""How a language model is trained; without torch, so that light tasks can read it."""

from dataclasses import dataclass, field

from training.finetune_config import FinetuneConfig

SMALL_GPT2 = "small-gpt2"
"""A GPT-2 of a few layers with random weights and a tokenizer trained on the corpus: no hub."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """A base model, how its text is cut, and how it is tuned."""

    base_model: str = "distilgpt2"
    """A causal language model of the hub, a folder with one, or `small-gpt2`."""

    block_size: int = 256
    """Tokens of a block: the longest context seen while training."""

    vocab_size: int = 4096
    """Entries of the tokenizer of `small-gpt2`."""

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
        for name in ("block_size", "vocab_size", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is {self.lora_rank}; give 0 to tune all weights, or more")

    @property
    def tokenizer(self) -> str:
        """The tokenizer to pack with; "" where one is trained on the corpus."""
        return "" if self.base_model == SMALL_GPT2 else self.base_model

    def tokens_to_train(self, num_train_tokens: int, world_size: int = 1) -> int:
        """Tokens of all steps together, padding of the last block included.

        >>> LanguageConfig(block_size=100, batch_size=2).tokens_to_train(1_000)
        1000
        """
        blocks = -(-num_train_tokens // self.block_size)
        batches = -(-blocks // self.batch_size)
        steps = self.finetune.total_steps(batches, world_size)
        step_batches = world_size * self.finetune.accumulation
        per_epoch = self.finetune.steps_per_epoch(batches, world_size)
        whole, rest = divmod(steps, per_epoch)
        rest_blocks = min(rest * step_batches * self.batch_size, blocks)
        return (whole * blocks + rest_blocks) * self.block_size

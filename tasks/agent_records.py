"""What travels between the tasks of an agent's training; the rest is in `tasks.records`."""

from dataclasses import dataclass

from flytekit.types.directory import FlyteDirectory


@dataclass(frozen=True, kw_only=True)
class LoraOverrides:
    """Settings of the adapter that win over the file; see `training.agent_config.LoraSettings`."""

    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    targets: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class ThresholdOverrides:
    """Thresholds that win over the file; see `training.agent_config.Thresholds`."""

    exact_call_accuracy: float | None = None
    false_call_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgentOverrides:
    """Settings that win over `training.yaml`; None leaves one as the file has it.

    See `training.agent_config.AgentTraining` for what each means. The settings that are asked for
    most (model, runbook, learning rate, batch size, steps) are inputs of the pipeline.
    """

    accumulation: int | None = None
    warmup_share: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    eval_every: int | None = None
    patience: int | None = None
    max_length: int | None = None
    long_examples: str | None = None
    max_new_tokens: int | None = None
    unseen_fraction: float | None = None
    seed: int | None = None
    lora: LoraOverrides | None = None
    thresholds: ThresholdOverrides | None = None
    exports: list[str] | None = None
    mlx_bits: int | None = None


@dataclass(frozen=True, kw_only=True)
class AgentSource:
    """What an agent's data set is made of, as found now."""

    agent: str
    """Name of the agent."""

    agents: str
    """Where the agents' folders are: an address, or "" for those that come with the code."""

    runbook: str
    """The runbook: relative to the agent's folder, absolute, or an `s3://` address."""

    digest: str
    """Digest of runbook and tools, the key of the cached preparation."""

    seed: int
    """Seed of the splits."""

    unseen_fraction: float
    """Share of alerts kept out of training."""

    shelf: str = ""
    """Identity of the local shelf that keeps the prepared form; "" on a cluster."""


@dataclass(frozen=True, kw_only=True)
class PreparedAgent:
    """An agent's data set with its tools."""

    agent: str
    """Name of the agent."""

    folder: FlyteDirectory
    """`data/` with examples and manifest, and `tools.yaml`."""

    version: str
    """Version of the data set: generator, runbook, tools and splits."""

    num_train: int
    """Examples to train on."""


@dataclass(frozen=True, kw_only=True)
class BaseSource:
    """A base model as found now."""

    name: str
    """Hub name, folder, `s3://` address, or `small-gemma`."""

    revision: str
    """What stands for its content: a commit of the hub, or a digest."""

    shelf: str = ""
    """Identity of the local shelf that keeps a model built here; "" on a cluster."""


@dataclass(frozen=True, kw_only=True)
class AgentBase:
    """A base model with its tokenizer, ready to be tuned."""

    name: str
    """As it was asked for."""

    revision: str
    """What stands for its content."""

    folder: FlyteDirectory
    """Weights, config and tokenizer."""

    num_parameters: int
    """Weights, without those that are tied."""


@dataclass(frozen=True, kw_only=True)
class FittedExamples:
    """An agent's examples in tokens of its base model."""

    num_tokens: int
    """Tokens of all training examples, each with its prefix."""

    num_targets: int
    """Tokens of their answers."""

    longest: int
    """Tokens of the longest, before truncation."""

    truncated: int
    """Examples that were cut to `max_length`."""

"""What travels between tasks: typed values, files and folders; never a path in a string.

This module imports neither torch nor MLflow, so that light tasks stay light.
"""

from dataclasses import dataclass
from typing import NamedTuple

from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set was found, and what it holds now."""

    address: str
    """The name, folder or address that was asked for."""

    digest: str
    """Digest of the content, the key of the cached preparation."""

    shelf: str = ""
    """Identity of the local shelf that keeps the prepared form; "" on a cluster."""


@dataclass(frozen=True, kw_only=True)
class PreparedImages:
    """A packed image data set."""

    folder: FlyteDirectory
    """The packed tensors and `manifest.json`."""

    digest: str
    """SHA-256 of the packed tensors."""

    num_train: int
    """Images to train on."""

    num_test: int
    """Held-out images."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""


@dataclass(frozen=True, kw_only=True)
class PreparedText:
    """A packed corpus with its tokenizer."""

    folder: FlyteDirectory
    """Blocks of tokens, the tokenizer and `manifest.json`."""

    digest: str
    """SHA-256 over corpus, tokenizer and block size."""

    base_model: str
    """The model whose tokenizer cut the text, and which is tuned on it."""

    num_train_tokens: int
    """Tokens to train on."""

    block_size: int
    """Tokens of a block."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run may cost, until when, and how it was launched."""

    budget_usd: float | None = None
    """The most that the run may cost, with the runs it resumes; None for no limit."""

    over_budget: str = "refuse"
    """What the gate does with a plan that does not fit: "refuse" it, or let it "train" as far as
    the money goes."""

    deadline: str = ""
    """When training must be over, ISO 8601 with offset, or "" for any time."""

    priority: str = "normal"
    """Priority by which the run is billed: a name of the rate card."""

    purchase: str = "on-demand"
    """How the execution was launched: "on-demand" or "spot"."""

    resume_from: str = ""
    """A stopped execution to go on from, or ""."""

    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints: the most work that a kill can cost."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: its identity in Flyte and MLflow, and the terms it runs under."""

    execution: str
    """Name of the Flyte execution; the key of everything that must exist once."""

    tracking_run: str
    """Identity of the MLflow run."""

    tracking_url: str
    """Page of the MLflow run."""

    experiment: str
    """MLflow experiment."""

    model_name: str
    """Name of the registered model."""

    commit: str
    """Git commit of the code, or "unknown"."""

    priority: str = "normal"
    """Priority by which the run is billed."""

    purchase: str = "on-demand"
    """How the run was asked to be bought: "on-demand" or "spot"."""

    budget_usd: str | None = None
    """Budget as an exact decimal, or None for none."""

    deadline: str | None = None
    """Instant by which training must end, ISO 8601 with offset, or None."""

    spent_before_usd: str = "0"
    """What the executions that this one resumes have spent, as an exact decimal."""

    resumed_execution: str | None = None
    """The stopped execution that this one goes on from."""

    resume_from: FlyteFile | None = None
    """The checkpoint to go on from."""

    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training task leaves."""

    folder: FlyteDirectory
    """The model and `result.json`, the loop's own account."""

    status: str
    """"completed" or "stopped"."""

    stop_reason: str | None = None
    """Why it was stopped: "budget" or "deadline"."""

    checkpoint: FlyteFile | None = None
    """Where a stopped run can be taken up again."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A measured model, packed so that MLflow and S3 take it as it is."""

    package: FlyteDirectory
    """The model in MLflow's format; loading it runs no code of its own."""

    report: FlyteDirectory
    """`evaluation.json` and the figures."""

    quality: float
    """The figure that the gate judges: held-out accuracy, perplexity, exact calls."""

    promote: bool
    """What the gate decided."""

    reason: str
    """Why, in one line."""


@dataclass(frozen=True, kw_only=True)
class Priced:
    """What a run cost."""

    bill: FlyteFile
    """The bill as JSON, line by line."""

    total_cost_usd: str
    """All of it, as an exact decimal."""

    duration_seconds: float
    """Seconds billed, over all attempts."""

    attempts: int
    """Attempts billed."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version in the MLflow registry."""

    name: str
    """Registered model."""

    version: str
    """Its version."""

    url: str
    """Its page."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A verified upload."""

    uri: str
    """`s3://bucket/model/version/`."""

    manifest_sha256: str
    """SHA-256 of the manifest, which lists that of every file."""

    num_files: int
    """Files under the manifest."""

    num_bytes: int
    """Their size together."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a person wants to know when a run has ended."""

    status: str
    """"completed", "stopped: budget", "stopped: deadline" or "skipped: ..."."""

    model: str = ""
    """Registered model and version, `name/version`."""

    alias: str = ""
    """Alias the version holds: "champion" or "challenger"."""

    decision: str = ""
    """What the gate decided and why."""

    quality: float = 0.0
    """Held-out accuracy, or what the pipeline's gate measures."""

    total_cost_usd: str = "0"
    """What this execution cost."""

    stored: str = ""
    """Where the verified artifact lies."""

    tracking_url: str = ""
    """Page of the MLflow run."""

    published: str = ""
    """What was published to git, or why nothing was; "" for pipelines that publish nothing."""


class Outcome(NamedTuple):
    """The named output of every pipeline."""

    summary: Summary

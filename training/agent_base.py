"""The model that an agent is tuned from: of the hub, of a folder, or small and made on the spot.

Heavy libraries are imported where they are used, so that light tasks can read the names.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from training.agent_data_files import read_manifest
from training.examples import Split
from training.hub import hub_revision
from training.source_digest import source_digest

SMALL_GEMMA = "small-gemma"
"""A model of Gemma 3's architecture, built and pre-trained here: no hub."""

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model")
"""What is fetched of a hub model; never a pickle."""

AGENTS = Path(__file__).resolve().parents[1] / "agents"
"""The agents that come with the code; a small model goes to school with them."""


@dataclass(frozen=True, kw_only=True)
class SmallBase:
    """How `small-gemma` is made."""

    width: int = 256
    """Size of the hidden states."""

    layers: int = 4
    """Number of blocks."""

    pretraining_steps: int = 400
    """Optimiser steps on the chats of other agents."""

    vocab_size: int = 4096
    """Entries of the tokenizer, which is trained on the agent's words."""

    def __post_init__(self) -> None:
        if self.width < 32 or self.width % 32:
            raise ValueError(f"small_base.width is {self.width}; give a multiple of 32")
        if self.vocab_size < 300:
            raise ValueError(
                f"small_base.vocab_size is {self.vocab_size}; give at least 300 (256 are bytes)"
            )
        for name in ("layers", "pretraining_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"small_base.{name} is {getattr(self, name)}; give at least 1")


def base_revision(name: str, *, school: str = "", token: str | None = None) -> str:
    """Says which content a name stands for now; of a hub model nothing is fetched.

    Args:
        name: Hub name, folder, or `small-gemma`.
        school: What `small-gemma` is made from: data and code.
        token: Hub token for a gated model.

    Raises:
        HubError: The hub has no such model, or does not give it.
    """
    if name == SMALL_GEMMA:
        return hashlib.sha256(school.encode()).hexdigest()[:16]
    if Path(name).is_dir():
        return _folder_digest(Path(name))
    return hub_revision(name, token=token)


def fetch_hub_model(name: str, *, revision: str, token: str | None = None) -> Path:
    """Downloads a model of the hub, or finds it in the local cache, and returns its folder.

    Args:
        name: Hub name.
        revision: The commit to fetch, from `base_revision`.
        token: Hub token for a gated model.

    Raises:
        HubError: The hub has no such model, or does not give it.
    """
    from huggingface_hub import snapshot_download

    from training.hub import hub_errors, is_away

    with hub_errors(name, "model"):
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=list(MODEL_FILES),
                local_files_only=is_away(name),
            )
        )


def make_small_gemma(data: Path, out: Path, config: SmallBase = SmallBase()) -> Path:
    """Builds and pre-trains a small model for one agent; the same data, the same weights.

    The tokenizer knows the agent's words. The weights learn from the other agents of `AGENTS`, and
    nothing of which tool of this agent answers which alert.

    Args:
        data: The agent's data set.
        out: Folder to write weights, config and tokenizer to.
        config: Sizes.

    Raises:
        ValueError: There is no other agent.
    """
    from dataclasses import replace

    from training.conversations import read_conversations
    from training.pretraining import PRETRAINING, pretrain, school_examples, school_folders
    from training.tiny_models import conversation_tokenizer, small_gemma

    school = school_examples(school_folders(AGENTS, without=read_manifest(data).agent))
    records = read_conversations(data / f"{Split.TRAIN}.jsonl")
    tokenizer = conversation_tokenizer(records, vocab_size=config.vocab_size)
    model = small_gemma(tokenizer=tokenizer, width=config.width, layers=config.layers)
    pretrain(model, tokenizer, school, config=replace(PRETRAINING, steps=config.pretraining_steps))
    out.mkdir(parents=True, exist_ok=True)
    model.cpu().save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return out


def num_parameters(folder: Path) -> int:
    """Counts the weights in a folder's safetensors files, by their headers alone.

    Raises:
        ValueError: The folder has none.
    """
    import math

    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"model {str(folder)!r} has no safetensors file; save it in that format")
    total = 0
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            total += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118 - no mapping
    return total


def school_of(data: Path, config: SmallBase = SmallBase()) -> str:
    """Describes what `small-gemma` is made from: data sets, sizes and code."""
    from training.pretraining import school_folders

    manifest = read_manifest(data)
    school = [_folder_digest(path) for path in school_folders(AGENTS, without=manifest.agent)]
    return f"{manifest.version} {config} {source_digest([__name__])} {school}"


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(os.fsencode(path.relative_to(folder)))
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]

"""Exports of a tuned model: merged safetensors, MLX, and what Ollama needs; each one verified.

A folder appears only when it is complete and was read back.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.tiny_models import STOP_SEQUENCES

MLX_TIMEOUT_SECONDS = 1800
_READ_BACK_TOLERANCE = 1e-4

# MLX and torch in one process would double the memory and mix two sets of threads.
_MLX_CONVERT = """
import json, sys
from mlx_lm import convert
job = json.loads(sys.argv[1])
convert(job["source"], job["target"], quantize=job["bits"] > 0, q_bits=job["bits"] or None,
        q_group_size=job["group_size"] if job["bits"] else None)
"""
_MLX_GENERATE = """
import json, sys
from mlx_lm import generate, load
job = json.loads(sys.argv[1])
model, tokenizer = load(job["folder"])
text = generate(model, tokenizer, prompt=job["prompt"], max_tokens=job["max_tokens"])
print("\\n" + json.dumps({"text": text}))
"""


class ExportError(RuntimeError):
    """An export that did not come out as the model it was made from."""


UNQUANTISED_BITS = 16
"""What `mlx_bits` says where nothing shall be rounded."""


@dataclass(frozen=True, kw_only=True)
class MlxConfig:
    """How weights are stored for MLX."""

    bits: int = 4
    """Bits of a quantised weight; 0 keeps them as they are."""

    group_size: int = 64
    """Weights that share a scale; must divide the width of every matrix."""

    def __post_init__(self) -> None:
        if self.bits not in (0, 2, 3, 4, 5, 6, 8):
            raise ValueError(f"bits is {self.bits}; give 0 (not quantised), 2, 3, 4, 5, 6 or 8")
        if self.group_size not in (32, 64, 128):
            raise ValueError(f"group_size is {self.group_size}; give 32, 64 or 128")

    @classmethod
    def of_bits(cls, mlx_bits: int) -> "MlxConfig":
        """Makes one from an agent's `mlx_bits`, of which 16 means as they are."""
        return cls(bits=0 if mlx_bits == UNQUANTISED_BITS else mlx_bits)


def export_safetensors(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Saves a merged model with its tokenizer, reloads it and compares its outputs.

    Args:
        model: A plain transformers model (merge an adapter first), on any device.
        tokenizer: Its tokenizer.
        folder: Where to; must not exist.

    Raises:
        ValueError: The model still has an adapter, or the folder exists.
        ExportError: What was read back computes something else.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("the model still has its adapter; call merge_adapter before the export")
    with _appearing(folder) as partial:
        model.save_pretrained(partial, safe_serialization=True)
        tokenizer.save_pretrained(partial)
        _compare(model, partial)
    return folder


def export_mlx(
    source: Path,
    folder: Path,
    *,
    config: MlxConfig = MlxConfig(),
    prompt: str = "Hello",
) -> str:
    """Converts a safetensors folder for MLX, loads the result and lets it write.

    Args:
        source: A folder of `export_safetensors`.
        folder: Where to; must not exist.
        config: How to quantise.
        prompt: What the converted model is asked, to see that it works.

    Returns:
        What it wrote, at most 16 tokens.

    Raises:
        ValueError: The `mlx` extra is missing, or a matrix cannot be quantised in such groups.
        ExportError: Conversion or generation failed; the last line of its output says why.
    """
    _check_groups(source, config)
    with _appearing(folder) as partial:
        job = {"source": str(source), "target": str(partial), **asdict(config)}
        _run(_MLX_CONVERT, job)
        asked = {"folder": str(partial), "prompt": prompt, "max_tokens": 16}
        written = json.loads(_run(_MLX_GENERATE, asked).splitlines()[-1])
    return str(written["text"])


def check_exports(exports: Collection[str], base: Path, *, mlx_bits: int) -> None:
    """Refuses, before anything is trained, exports that a model tuned from `base` cannot have.

    Args:
        exports: Their names, as in `AgentTraining.exports`.
        base: Folder of the base model.
        mlx_bits: Bits of a weight for MLX.

    Raises:
        ValueError: Says which, why, and what to do.
    """
    if "mlx" in exports:
        _check_groups(base, MlxConfig.of_bits(mlx_bits))
    if "ollama" in exports:
        _check_architecture(base)


def export_ollama(source: Path, folder: Path, *, context: int = 4096) -> Path:
    """Copies a safetensors folder and adds the Modelfile that `ollama create` reads.

    Args:
        source: A folder of `export_safetensors`.
        folder: Where to; must not exist.
        context: Tokens of the context window that Ollama reserves.

    Raises:
        ValueError: The folder exists, or the model is not of Gemma 3's architecture.
    """
    _check_architecture(source)
    with _appearing(folder) as partial:
        shutil.copytree(source, partial)
        (partial / "Modelfile").write_text(modelfile(context=context))
    return folder


def modelfile(*, context: int, stop: Sequence[str] = STOP_SEQUENCES) -> str:
    """Returns a Modelfile with FunctionGemma's format as a Go template.

    Ollama writes a tool's schema as JSON, while the model was trained on declarations, so callers
    send the rendered developer turn as the system message; the template adds what surrounds it.
    Decoding is greedy, as it is when the model is evaluated.
    """
    template = (
        "{{- if .System }}<start_of_turn>developer\n{{ .System }}<end_of_turn>\n{{ end }}"
        "{{- range .Messages }}"
        '{{- if eq .Role "user" }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n'
        '{{- else if eq .Role "assistant" }}<start_of_turn>model\n{{ .Content }}'
        '{{- else if eq .Role "tool" }}{{ .Content }}<end_function_response>'
        "{{- end }}{{- end }}<start_of_turn>model\n"
    )
    lines = [
        "FROM .",
        f'TEMPLATE """{template}"""',
        *(f'PARAMETER stop "{text}"' for text in stop),
        f"PARAMETER num_ctx {context}",
        "PARAMETER temperature 0",
        "PARAMETER top_k 1",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Gives a name to write to and renames it to `folder` when nothing failed."""
    if folder.exists():
        raise ValueError(f"{folder} exists; name a folder that does not")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@torch.no_grad()
def _compare(model: Any, folder: Path) -> None:
    """Checks that the folder's model computes what `model` does."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=model.dtype, local_files_only=True
    ).to(model.device)
    count = min(16, int(model.config.vocab_size))
    ids = torch.arange(count, device=model.device)[None]
    was_training = model.training
    model.eval()
    ours, theirs = (m(input_ids=ids).logits.float() for m in (model, loaded.eval()))
    model.train(was_training)
    difference = float((ours - theirs).abs().max())
    if not difference <= _READ_BACK_TOLERANCE * max(1.0, float(ours.abs().max())):
        raise ExportError(
            f"the exported model's logits differ by {difference:.3g} from the model's own; "
            "report this with the model's name"
        )


def _check_architecture(source: Path) -> None:
    architecture = json.loads((source / "config.json").read_text())["architectures"][0]
    if architecture != "Gemma3ForCausalLM":
        raise ValueError(
            f"exports has 'ollama', whose template is for Gemma3ForCausalLM, and {source} holds a "
            f"{architecture}; leave it out"
        )


def _check_groups(source: Path, config: MlxConfig) -> None:
    """Checks that MLX is here and that its groups divide the model's widths."""
    import importlib.util

    if importlib.util.find_spec("mlx_lm") is None:
        raise ValueError(
            "exports has 'mlx', which needs the extra; pip install 'oppen[mlx]' or leave it out"
        )
    model_config = json.loads((source / "config.json").read_text())
    for name in ("hidden_size", "intermediate_size"):
        width = model_config.get(name)
        if config.bits and width and width % config.group_size:
            raise ValueError(
                f"group_size is {config.group_size} and does not divide the model's {name} "
                f"({width}); give 32 or 64, or bits=0"
            )


def _run(script: str, job: dict[str, Any]) -> str:
    """Runs a few lines of MLX in a process of their own and returns what they printed."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(job)],
            capture_output=True,
            text=True,
            timeout=MLX_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"MLX did not finish in {MLX_TIMEOUT_SECONDS} s; try again") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"MLX failed with exit status {done.returncode}: {last}")
    return done.stdout

"""Fixed prompts that travel with a tuned agent: what a reload must answer again, to the word.

`python -m training.agent_probe PROBE FOLDER...` loads each folder and prints the differences.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.agent_config import AgentTraining
from training.agent_tuning import answer, load_agent
from training.conversations import render_prompt
from training.device import choose_placement

PROMPTS_FILE = "prompts.json"
LOGITS_FILE = "logits.safetensors"


def write_probe(
    model: Any,
    tokenizer: Any,
    records: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    max_new_tokens: int,
) -> None:
    """Notes what the model says to `records`: its answers, and the logits that begin them.

    Args:
        model: With its adapter; it is moved to the CPU.
        tokenizer: Its tokenizer.
        records: Conversations, whose last answer is left out.
        folder: Where to write.
        max_new_tokens: Longest answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logits, texts = _said(model, tokenizer, records, max_new_tokens)
    prompts = [
        {"messages": [*record["messages"][:-1]], "tools": record["tools"], "answer": text}
        for record, text in zip(records, texts, strict=True)
    ]
    content = {"max_new_tokens": max_new_tokens, "prompts": prompts}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / PROMPTS_FILE).write_text(text, encoding="utf-8")
    save_file({"logits": logits.contiguous()}, folder / LOGITS_FILE)


def reload_difference(probe: Path, folder: Path, base: Path | None = None) -> tuple[float, int]:
    """Loads a tuned agent and asks it the prompts again.

    Returns:
        The largest difference of a logit, and the number of answers that differ.
    """
    content = json.loads((probe / PROMPTS_FILE).read_text(encoding="utf-8"))
    model, tokenizer = load_agent(folder, base)
    records = [{**p, "messages": [*p["messages"], _NOTHING]} for p in content["prompts"]]
    logits, texts = _said(model, tokenizer, records, content["max_new_tokens"])
    expected = load_file(probe / LOGITS_FILE)["logits"]
    wrong = sum(
        text != prompt["answer"] for text, prompt in zip(texts, content["prompts"], strict=True)
    )
    return float((logits - expected).abs().max()), wrong


_NOTHING: Mapping[str, Any] = {"role": "assistant", "content": ""}


@torch.inference_mode()
def _said(
    model: Any, tokenizer: Any, records: Sequence[Mapping[str, Any]], max_new_tokens: int
) -> tuple[Tensor, list[str]]:
    """Returns the logits of each answer's first token, (N, V), and the answers; fp32 on the CPU."""
    placement = choose_placement(device="cpu", precision="fp32")
    model.to(placement.device).eval()
    prompts = [render_prompt(record, tokenizer) for record in records]
    logits = [
        model(input_ids=torch.tensor([prompt]), logits_to_keep=1).logits[0, -1].float()
        for prompt in prompts
    ]
    config = AgentTraining(agent_name="probe", max_new_tokens=max_new_tokens)
    answers = answer(model, tokenizer, prompts, config, placement=placement)
    return torch.stack(logits), [each.text for each in answers]


def main(arguments: Sequence[str]) -> None:
    """Prints for each folder the largest difference of a logit and the answers that differ."""
    probe, base, *folders = arguments
    found = {
        folder: reload_difference(Path(probe), Path(folder), Path(base) if base else None)
        for folder in folders
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

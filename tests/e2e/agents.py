"""A small agent of the tests: three alerts, the tools of Bruno, a base model made on the spot."""

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

ALERTS = {
    "BrunoDown": "kubectl rollout restart deployment/bruno-api -n bruno",
    "QueueStuck": "nats consumer resume chats replies",
    "ModelMissing": "ollama pull bruno-small",
}

SETTINGS = """\
model_name: small-gemma
learning_rate: 5e-3
batch_size: 8
iters: {iters}
eval_every: 1000
max_new_tokens: 4
unseen_fraction: 0
lora: {{rank: 4, alpha: 8}}
thresholds: {{exact_call_accuracy: 0.0, false_call_rate: 1.0}}
exports: [{exports}]
"""

TINY_BASE: dict[str, Any] = {"width": 64, "layers": 3, "pretraining_steps": 1, "vocab_size": 800}
"""As little as MLX takes: groups of 64 weights, a layer that sees everything."""


def write_agent(
    agents: Path, name: str, *, iters: int = 4, exports: str = "safetensors, ollama"
) -> Path:
    """Writes the folder of an agent and returns it."""
    folder = agents / name
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "agents" / "agent-bruno" / "tools.yaml", folder / "tools.yaml")
    settings = SETTINGS.format(iters=iters, exports=exports)
    (folder / "training.yaml").write_text(settings, encoding="utf-8")
    (folder / "RUNBOOK.md").write_text(
        "# Test\n\n" + "".join(section(*alert) for alert in ALERTS.items()), encoding="utf-8"
    )
    return folder


def section(alert: str, command: str) -> str:
    """Writes the section of one alert."""
    return (
        f"### Alert: {alert}\n\n**Symptoms:**\n- {alert} is firing since an hour\n\n"
        f"**Resolution:**\n```bash\n{command}\n```\n\n"
    )

"""What decides a tuned agent, in a few digits."""

import hashlib
import json
from dataclasses import asdict

from training.agent_config import AgentTraining


def recipe(config: AgentTraining, *, data_version: str, base: str, revision: str) -> str:
    """Stands for everything that decides a tuned model: equal recipes, equal models.

    When training runs does not matter, so the schedule is left out.
    """
    settings = {key: value for key, value in asdict(config).items() if key != "schedule"}
    text = json.dumps([settings, data_version, base, revision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

# ruff: noqa: INP001 - a script of the workflows, not part of a package
"""Names the agents to train as a line for a job's outputs, after checking what was typed."""

import argparse
import json
import re
import sys
from pathlib import Path

AGENTS = Path(__file__).resolve().parents[2] / "agents"


def known(folder: Path) -> list[str]:
    """Every folder that holds an agent."""
    return sorted(path.parent.name for path in folder.glob("*/training.yaml"))


def chosen(agent: str, names: list[str]) -> list[str]:
    """All agents for an empty name, or the one that is named."""
    if not agent:
        return names
    if agent not in names:
        raise ValueError(f"agent {agent!r} is no folder of agents/: use {', '.join(names)}")
    return [agent]


def checked_budget(text: str) -> None:
    """Refuses what is no positive amount of USD; empty means the default."""
    if text and (not re.fullmatch(r"\d{1,6}(\.\d{1,4})?", text) or float(text) == 0):
        raise ValueError(f"budget {text!r} is no amount of USD: use a number such as 2.50")


def main(arguments: list[str]) -> int:
    """Prints `names=[...]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", default="")
    parser.add_argument("--budget", default="")
    options = parser.parse_args(arguments)
    try:
        checked_budget(options.budget)
        print(f"names={json.dumps(chosen(options.agent, known(AGENTS)))}")
    except ValueError as error:
        print(f"::error::{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

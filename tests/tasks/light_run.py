"""Runs every light task with only some packages to be found; a script of its own process.

    python light_run.py BLOCKED FOLDER

`BLOCKED` is a JSON list of top-level modules to hide, `FOLDER` is empty and for its files. The
servers come from the environment. The last line printed is the outcome as JSON, with the modules
that were loaded on the way.
"""

import importlib.abc
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Hiding(importlib.abc.MetaPathFinder):
    """A finder that does not find what is not installed."""

    def __init__(self, finder: Any, blocked: set[str]) -> None:
        self.finder, self.blocked = finder, blocked

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Asks the finder behind, unless the module is hidden."""
        if name.partition(".")[0] in self.blocked:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def hide(blocked: set[str]) -> None:
    """Makes the modules look as if they were not installed."""
    sys.meta_path[:] = [Hiding(finder, blocked) for finder in sys.meta_path]


def package_of(folder: Path) -> tuple[Path, Path]:
    """Writes what an evaluation leaves: a package with a model, and a report."""
    package, report = folder / "package", folder / "report"
    (package / "model").mkdir(parents=True)
    report.mkdir()
    (package / "model" / "weights").write_bytes(bytes(1000))
    (package / "tags.json").write_text(json.dumps({"oppen.kind": "test"}))
    (report / "metrics.json").write_text(json.dumps({"accuracy": 0.9}))
    return package, report


def run_image_tasks(folder: Path) -> dict[str, Any]:
    """Takes a run whose training left a few bytes from its terms to its promotion."""
    from flytekit.types.directory import FlyteDirectory

    from tasks.agree_terms import agree_terms
    from tasks.open_image_run import open_image_run
    from tasks.price import price_run
    from tasks.promote import promote_model
    from tasks.records import Evaluated, PreparedImages, Trained
    from tasks.register import register_model
    from tasks.store import store_model
    from training.classifier_config import ClassifierConfig

    package, report = (FlyteDirectory(str(path)) for path in package_of(folder))
    terms = agree_terms(
        budget_usd=1.0,
        over_budget="refuse",
        deadline="",
        priority="normal",
        purchase="on-demand",
        resume_from="",
        checkpoint_seconds=60.0,
    )
    run = open_image_run(
        images=PreparedImages(
            folder=package, digest="0" * 64, num_train=100, num_test=10, height=28, width=28
        ),
        config=ClassifierConfig(epochs=1),
        dataset="mnist-5k",
        model_name="light-tasks",
        experiment="light-tasks",
        terms=terms,
        min_accuracy=0.5,
    )
    trained = Trained(folder=package, status="completed")
    evaluated = Evaluated(package=package, report=report, quality=0.9, promote=True, reason="good")
    priced = price_run(run=run, trained=trained)
    registered = register_model(run=run, trained=trained, evaluated=evaluated, priced=priced)
    stored = store_model(run=run, evaluated=evaluated, registered=registered)
    outcome = promote_model(
        run=run,
        trained=trained,
        evaluated=evaluated,
        priced=priced,
        registered=registered,
        stored=stored,
        reload_difference=0.0,
    )
    return asdict(outcome.summary)


def run_other_tasks() -> dict[str, Any]:
    """Runs the light tasks around a run: the window, the agents' data, the monthly report."""
    from tasks.agent_data import locate_agent, prepare_agent
    from tasks.agent_records import AgentOverrides
    from tasks.cost_report import write_cost_report
    from tasks.publish import keep_champion
    from tasks.window import check_window

    now = datetime.now(UTC)
    window = check_window(kickoff_time=now, max_delay_minutes=60, max_multiplier=10.0)
    located = locate_agent(
        agent_name="agent-bruno",
        agents="",
        model_name=None,
        runbook_path=None,
        learning_rate=None,
        batch_size=None,
        iters=None,
        overrides=AgentOverrides(),
        git_repository="",
    )
    agent = prepare_agent(source=located.source)
    kept = keep_champion(
        agent_name="nobody", reason="nothing changed", git_repository="", git_branch=""
    )
    report = write_cost_report(kickoff_time=now, month=f"{now:%Y-%m}")
    return {
        "window": window.is_open,
        "examples": agent.num_train,
        "kept": kept.summary.status,
        "report": report.stored,
    }


if __name__ == "__main__":
    at_start = set(sys.modules)
    hide(set(json.loads(sys.argv[1])))
    found = {**run_image_tasks(Path(sys.argv[2])), **run_other_tasks()}
    print(json.dumps(found | {"modules": sorted(set(sys.modules) - at_start)}))

"""Starts pipelines as a person does, and looks at what they left on the servers."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stores.mlflow_api import MlflowApi, quoted
from stores.objects import open_objects
from stores.run_history import finished_runs
from stores.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PYFLYTE = Path(sys.executable).with_name("pyflyte")


def start(
    file: str, workflow: str, *, variables: Mapping[str, str], log: Path, **inputs: object
) -> "subprocess.Popen[bytes]":
    """Starts `pyflyte run FILE WORKFLOW` in a session of its own; its output goes to `log`.

    Args:
        file: The workflow's file, relative to the project.
        workflow: Its name.
        variables: Environment on top of this process's.
        log: Where output and errors go.
        inputs: Inputs of the workflow; what is no text is written as JSON.
    """
    options = [
        part
        for name, value in inputs.items()
        for part in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(PYFLYTE), "run", str(ROOT / file), workflow, *options],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(
    file: str, workflow: str, *, variables: Mapping[str, str], log: Path, **inputs: object
) -> str:
    """Runs a pipeline to its end and returns what it printed; a failure shows the last of it."""
    code = start(file, workflow, variables=variables, log=log, **inputs).wait()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, printed[-3000:]
    return printed


def runs_of(settings: Settings, experiment: str) -> list[dict[str, Any]]:
    """The MLflow runs of an experiment, oldest first; none where there is no experiment."""
    found = finished_runs(settings)
    return [each for each in found if each["experiment"] == experiment]


def history(settings: Settings, run_id: str, metric: str) -> dict[int, float]:
    """All values of a metric by step; one that was reported twice must be the same both times."""
    with MlflowApi(settings) as api:
        points = api.get("metrics/get-history", run_id=run_id, metric_key=metric)["metrics"]
    pairs = {(int(point.get("step", 0)), float(point["value"])) for point in points}
    assert len(dict(pairs)) == len(pairs), f"{metric} has two values at one step: {points}"
    return dict(pairs)


def versions_of(settings: Settings, model: str) -> list[dict[str, Any]]:
    """The versions of a registered model, oldest first; none where there is no such model."""
    with MlflowApi(settings) as api:
        found = api.get("model-versions/search", filter=f"name={quoted(model)}")
    return sorted(found.get("model_versions", ()), key=lambda version: int(version["version"]))


def aliases_of(settings: Settings, model: str) -> dict[str, str]:
    """The version that each alias of a model points at."""
    with MlflowApi(settings) as api:
        found = api.get("registered-models/get", name=model)["registered_model"]
    return {alias["alias"]: alias["version"] for alias in found.get("aliases", ())}


def objects_of(settings: Settings, model: str) -> list[str]:
    """The names of all objects under a model, sorted."""
    with open_objects(settings) as objects:
        return sorted(objects.names(f"{model}/"))


def artifacts_of(settings: Settings, run_id: str, folder: str) -> set[str]:
    """The names of the files in a folder of a run's artifacts."""
    with MlflowApi(settings) as api:
        listed = api.get(f"artifacts/list?run_id={run_id}&path={folder}").get("files", ())
    return {Path(file["path"]).name for file in listed}

"""The MLflow run of an execution: opened once however often it is asked for, found by a tag."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stores.agreed_run import EXECUTION_TAG, OPENED_TAG, agreed_run, search_runs
from stores.metric_spool import replay_spooled
from stores.mlflow_api import MlflowApi, TrackingRefused, entries, metric_entry, quoted
from stores.mlflow_reporter import MlflowReporter
from stores.run_files import fetch_artifacts, log_artifacts
from stores.settings import Settings

__all__ = [
    "MlflowReporter",
    "TrackedRun",
    "fetch_artifacts",
    "find_run",
    "finish_run",
    "log_artifacts",
    "log_final",
    "open_run",
    "read_run",
    "recent_metric",
]

_BATCH = 100  # tags or parameters in a request


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run as MLflow has it now."""

    run_id: str
    """MLflow's identifier."""

    experiment_id: str
    """The experiment it belongs to."""

    url: str
    """Its page."""

    status: str
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`."""

    params: Mapping[str, str] = field(default_factory=dict)
    """What it was started with."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each metric."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """Its tags."""


def open_run(
    settings: Settings,
    *,
    experiment: str,
    execution: str,
    name: str,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, object] | None = None,
) -> TrackedRun:
    """Opens the one run of an execution: a retry finds it and sets it running again.

    Args:
        settings: where MLflow is.
        experiment: name of the experiment, made when it does not exist.
        execution: what identifies the execution, the same on every retry.
        name: what people read.
        tags: written over earlier ones.
        params: written once; on a retry they must be the same.

    Raises:
        TrackingUnavailable: MLflow does not answer.
        TrackingRefused: a parameter differs from that of the earlier attempt.
    """
    if not execution:
        raise ValueError("execution is empty: give what identifies this run")
    with MlflowApi(settings) as api:
        experiment_id = _experiment(api, experiment)
        run_id = agreed_run(api, experiment_id=experiment_id, execution=execution, name=name)
        api.post("runs/update", run_id=run_id, status="RUNNING")
        _log_in_batches(api, run_id, "tags", tags or {})
        _log_in_batches(api, run_id, "params", params or {})
        return _read(api, run_id)


def find_run(settings: Settings, *, execution: str) -> TrackedRun:
    """Finds the run of an execution in any experiment.

    Raises:
        ValueError: there is none.
    """
    with MlflowApi(settings) as api:
        condition = f"tags.`{EXECUTION_TAG}` = {quoted(execution)}"
        opened = f"{condition} and tags.`{OPENED_TAG}` = 'true'"
        for run in search_runs(api, _all_experiments(api), opened):
            return _as_run(api, run)
    raise ValueError(f"execution {execution!r} has no run at {settings.tracking_uri()}")


def read_run(settings: Settings, run_id: str) -> TrackedRun:
    """Reads a run with the last value of each metric."""
    with MlflowApi(settings) as api:
        return _read(api, run_id)


def log_final(
    settings: Settings,
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    step: int = 0,
) -> None:
    """Writes values that a run ends with; a second call with the same values changes nothing.

    Metrics that the reporter of this machine could not deliver go first.
    """
    replay_spooled(settings, run_id)
    with MlflowApi(settings) as api:
        known = _read(api, run_id).metrics
        now = time.time_ns() // 1_000_000
        new = [
            metric_entry(key, value, timestamp_ms=now, step=step)
            for key, value in (metrics or {}).items()
            if known.get(key) != value
        ]
        if new:
            api.post("runs/log-batch", run_id=run_id, metrics=new)
        _log_in_batches(api, run_id, "tags", tags or {})


def finish_run(settings: Settings, run_id: str, status: str = "FINISHED") -> None:
    """Ends a run; ending it again with the same status keeps the first end."""
    with MlflowApi(settings) as api:
        if _read(api, run_id).status != status:
            end = time.time_ns() // 1_000_000
            api.post("runs/update", run_id=run_id, status=status, end_time=end)


def recent_metric(
    settings: Settings,
    *,
    experiment: str,
    metric: str,
    tags: Mapping[str, str] | None = None,
    limit: int = 5,
) -> list[float]:
    """Returns the last value of a metric in the newest finished runs that have these tags."""
    conditions = ["attributes.status = 'FINISHED'"]
    conditions += [f"tags.`{key}` = {quoted(value)}" for key, value in (tags or {}).items()]
    with MlflowApi(settings) as api:
        experiment_id = _find_experiment(api, experiment)
        if experiment_id is None:
            return []
        found = search_runs(
            api, [experiment_id], " and ".join(conditions), "attributes.start_time DESC", limit
        )
        metrics = [_as_run(api, run).metrics for run in found]
    return [values[metric] for values in metrics if metric in values]


def _experiment(api: MlflowApi, name: str) -> str:
    """Finds or makes an experiment; of two that make it at once, one finds it made."""
    found = _find_experiment(api, name)
    if found is None:
        with suppress(TrackingRefused):
            return str(api.post("experiments/create", name=name)["experiment_id"])
        found = _find_experiment(api, name)
    if found is None:
        raise TrackingRefused(
            f"experiment {name!r} was deleted: restore it in MLflow, or use another name"
        )
    return found


def _find_experiment(api: MlflowApi, name: str) -> str | None:
    try:
        found = api.get("experiments/get-by-name", experiment_name=name)["experiment"]
    except TrackingRefused as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return str(found["experiment_id"]) if found["lifecycle_stage"] == "active" else None


def _all_experiments(api: MlflowApi) -> list[str]:
    return [
        e["experiment_id"] for e in api.pages("experiments/search", "experiments", max_results=1000)
    ]


def _read(api: MlflowApi, run_id: str) -> TrackedRun:
    return _as_run(api, api.get("runs/get", run_id=run_id)["run"])


def _as_run(api: MlflowApi, run: Mapping[str, Any]) -> TrackedRun:
    info, data = run["info"], run.get("data", {})
    return TrackedRun(
        run_id=info["run_id"],
        experiment_id=info["experiment_id"],
        url=f"{api.uri}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}",
        status=info["status"],
        params={p["key"]: p["value"] for p in data.get("params", ())},
        metrics={m["key"]: float(m["value"]) for m in data.get("metrics", ())},
        tags={t["key"]: t["value"] for t in data.get("tags", ())},
    )


def _log_in_batches(api: MlflowApi, run_id: str, kind: str, values: Mapping[str, object]) -> None:
    everything = entries(values)
    for first in range(0, len(everything), _BATCH):
        api.post("runs/log-batch", run_id=run_id, **{kind: everything[first : first + _BATCH]})

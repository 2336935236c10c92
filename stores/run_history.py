"""Finished runs of a tracking server, read page by page.

`import mlflow` alone would take longer than reading thousands of them over its REST interface.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from stores.mlflow_api import MlflowApi
from stores.settings import Settings

PAGE = 10_000
"""Runs in a page. The server counts its way to each page from the start, so few large pages are
several times faster than many small ones; its limit is 50,000."""

_TIMEOUT_SECONDS = 60.0
_RETRIES = 2  # somebody waits for the answer


def finished_runs(
    settings: Settings,
    *,
    experiments: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int = PAGE,
) -> Iterator[dict[str, Any]]:
    """Reads the runs that began from `start` to before `end`, oldest first.

    Args:
        settings: Where MLflow is.
        experiments: Names of experiments; all that are not deleted without.
        start: First instant, aware, or None for no bound.
        end: First instant after, aware, or None for no bound.
        page: Runs to ask for at a time.

    Yields:
        Plain mappings with run_id, experiment, status, start and end (milliseconds since 1970, end
        is None while it runs), tags, params and the last values of metrics.

    Raises:
        TrackingUnavailable: The server does not answer.
        TrackingRefused: It says no.
        ValueError: An experiment does not exist.
    """
    with MlflowApi(settings, timeout_seconds=_TIMEOUT_SECONDS, retries=_RETRIES) as api:
        known = api.pages("experiments/search", "experiments", max_results=page)
        names = {experiment["experiment_id"]: experiment["name"] for experiment in known}
        wanted = _chosen(names, experiments, api.uri)
        if not wanted:
            return
        for run in api.pages(
            "runs/search",
            "runs",
            experiment_ids=wanted,
            filter=_began(start, end),
            order_by=["attributes.start_time ASC"],
            max_results=page,
        ):
            yield _plain(run, names)


def _chosen(names: Mapping[str, str], experiments: Sequence[str] | None, uri: str) -> list[str]:
    """Gives the identities of the experiments that are asked for."""
    for name in experiments or ():
        if name not in names.values():
            raise ValueError(
                f"experiment is {name!r}, which {uri} does not have; "
                f"use one of {', '.join(sorted(names.values()))}"
            )
    return [i for i, name in names.items() if not experiments or name in experiments]


def _began(start: datetime | None, end: datetime | None) -> str:
    """Writes a search's condition on the begin of a run."""
    bounds = [
        f"attributes.start_time {sign} {int(moment.timestamp() * 1000)}"
        for sign, moment in ((">=", start), ("<", end))
        if moment is not None
    ]
    return " and ".join(bounds)


def _plain(run: Mapping[str, Any], experiments: Mapping[str, str]) -> dict[str, Any]:
    info, data = run["info"], run.get("data", {})
    return {
        "run_id": info["run_id"],
        "experiment": experiments[info["experiment_id"]],
        "status": info["status"],
        "start": int(info["start_time"]),
        "end": int(info["end_time"]) if info.get("end_time") else None,
        "tags": {tag["key"]: tag["value"] for tag in data.get("tags", ())},
        "params": {param["key"]: param["value"] for param in data.get("params", ())},
        "metrics": {metric["key"]: float(metric["value"]) for metric in data.get("metrics", ())},
    }

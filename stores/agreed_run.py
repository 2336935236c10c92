"""One MLflow run for an execution, whoever else opens it at the same moment.

MLflow numbers its runs itself and has no key that only one caller can take, and neither the order
of creation nor start times tell who was first: a run made earlier may become visible later. So a
run counts once it has the tag `oppen.opened`, and its maker sets it only after a look that showed
no other one. Of two makers, the later one to be seen sees the earlier, so at most one sets it.
"""

import time
from typing import Any

from stores.mlflow_api import MlflowApi, entries, quoted

EXECUTION_TAG = "oppen.execution"
"""Tag of a run, and of a version, that says which execution made it."""

OPENED_TAG = "oppen.opened"
"""Tag of the run that all openers of an execution agreed on."""

AGREEMENT_SECONDS = 10.0
"""Patience with a maker that was seen and does not go on: two requests of its own."""

_LOOK_SECONDS = 0.1


def agreed_run(
    api: MlflowApi,
    *,
    experiment_id: str,
    execution: str,
    name: str,
    patience: float = AGREEMENT_SECONDS,
) -> str:
    """Returns the identifier of an execution's one run, making it when there is none.

    Args:
        api: An open connection to MLflow.
        experiment_id: Where the run belongs.
        execution: What identifies the execution, the same for every caller.
        name: What people read.
        patience: Seconds after which a run whose maker died is taken over.

    Raises:
        TrackingUnavailable: MLflow does not answer.
        TrackingRefused: The experiment is gone.
    """
    until = time.monotonic() + patience
    own = ""
    while True:
        seen = _runs_of(api, experiment_id, execution)
        opened = [run for run, tags in seen.items() if OPENED_TAG in tags]
        if not seen:
            own = _create(api, experiment_id, execution, name)
        elif opened:
            if own in seen and own != opened[0]:
                _delete(api, own)
            return opened[0]
        elif list(seen) == [own]:
            _open(api, own)
            return own
        elif time.monotonic() > until:
            chosen, *others = seen
            _open(api, chosen)
            for run in others:
                _delete(api, run)
            return chosen
        else:
            if own in seen and own != next(iter(seen)):
                _delete(api, own)
            time.sleep(_LOOK_SECONDS)


def search_runs(
    api: MlflowApi,
    experiments: list[str],
    condition: str,
    order: str = "attributes.start_time ASC",
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """Returns runs that were not deleted, as MLflow writes them."""
    answer = api.post(
        "runs/search",
        experiment_ids=experiments,
        filter=condition,
        order_by=[order],
        max_results=limit,
        run_view_type="ACTIVE_ONLY",
    )
    return list(answer.get("runs", ()))


def _runs_of(api: MlflowApi, experiment_id: str, execution: str) -> dict[str, set[str]]:
    """Returns the tags of each run of an execution, in an order that all callers share."""
    condition = f"tags.`{EXECUTION_TAG}` = {quoted(execution)}"
    runs = search_runs(api, [experiment_id], condition)
    runs.sort(key=lambda run: (int(run["info"]["start_time"]), run["info"]["run_id"]))
    return {
        run["info"]["run_id"]: {tag["key"] for tag in run["data"].get("tags", ())} for run in runs
    }


def _create(api: MlflowApi, experiment_id: str, execution: str, name: str) -> str:
    made = api.post(
        "runs/create",
        experiment_id=experiment_id,
        run_name=name,
        start_time=time.time_ns() // 1_000_000,
        tags=entries({EXECUTION_TAG: execution}),
    )
    return str(made["run"]["info"]["run_id"])


def _open(api: MlflowApi, run_id: str) -> None:
    api.post("runs/set-tag", run_id=run_id, key=OPENED_TAG, value="true")


def _delete(api: MlflowApi, run_id: str) -> None:
    api.post("runs/delete", run_id=run_id)

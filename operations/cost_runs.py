"""Reading what is known about a run, for recommendations, from a JSON file."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from accounting.early_stopping import MetricHistory
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.run_data import RunData
from accounting.scaling import NETWORKS, Network, ScalingModel
from accounting.throughput import BatchPoint
from accounting.usage import Attempt
from operations.cost_options import read_text

PLAIN = (
    "steps",
    "step_seconds",
    "batch_size",
    "gpu_memory_gib",
    "gpu_memory_limit_gib",
    "precision",
    "precision_points",
    "most_workers",
)


def read_run(source: str, *, card: RateCard) -> RunData:
    """Reads a run from a JSON object.

    Raises:
        ValueError: The file is no such object, or one of its fields makes no sense.
    """
    try:
        content = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is no JSON ({error.msg}, line {error.lineno})") from error
    if not isinstance(content, dict) or not isinstance(content.get("attempts"), list):
        raise ValueError(f"{source} has no list of attempts; add one")  # noqa: TRY004 - user input
    unknown = sorted(set(content) - {*PLAIN, *STRUCTURED, "attempts", "wait_hours"})
    if unknown:
        known = ", ".join(("attempts", *PLAIN, *STRUCTURED, "wait_hours"))
        raise ValueError(f"{source} has the unknown field {unknown[0]!r}; it may have {known}")
    fields: dict[str, Any] = {name: content[name] for name in PLAIN if name in content}
    for name, read in STRUCTURED.items():
        if name in content:
            try:
                fields[name] = read(content[name])
            except (TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{source}: {name} cannot be read ({error})") from error
    if "wait_hours" in content:
        fields["wait"] = timedelta(hours=content["wait_hours"])
    attempts = [Attempt.from_record(record) for record in content["attempts"]]
    return RunData(attempts=attempts, card=card, **fields)


def _scaling(record: Mapping[str, Any]) -> ScalingModel:
    fields = dict(record)
    network = fields.pop("network")
    if isinstance(network, str):
        if network not in NETWORKS:
            raise ValueError(f"network is {network!r}; use one of {', '.join(NETWORKS)}")
        link = NETWORKS[network]
    else:
        link = Network(**network)
    return ScalingModel(network=link, **fields)


def _batch_points(records: Any) -> list[BatchPoint]:
    return [BatchPoint(**record) for record in records]


def _metric(record: Mapping[str, Any]) -> MetricHistory:
    values = [(int(step), float(value)) for step, value in record["values"]]
    return MetricHistory(**{**record, "values": values})


def _preemption(record: Mapping[str, Any]) -> Preemption:
    return Preemption(**record)


STRUCTURED: dict[str, Callable[[Any], Any]] = {
    "batch_points": _batch_points,
    "metric": _metric,
    "scaling": _scaling,
    "preemption": _preemption,
}

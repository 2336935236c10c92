"""What an execution really held: every attempt of every task, as Flyte's records show it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from accounting.usage import Attempt, Outcome, Resources
from operations.launching import PRIORITY_LABEL
from operations.plans import PAGE
from operations.remote import Flyte

POD_DEFAULTS = (Decimal("0.5"), Decimal("0.25"))
"""Cores and GiB that the namespace's LimitRange gives a task which asks for nothing."""

_UNITS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{u: Decimal(1000) ** i for i, u in enumerate(("k", "M", "G", "T"), start=1)},
    **{u: Decimal(1024) ** i for i, u in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}
_GIB = Decimal(1024) ** 3
_ENDS = ("start-node", "end-node")


def quantity(text: str) -> Decimal:
    """Reads a Kubernetes quantity.

    >>> quantity("500m"), quantity("8Gi") / 2**30
    (Decimal('0.500'), Decimal('8'))
    """
    digits = text.rstrip("kKMGTim")
    return Decimal(digits) * _UNITS[text[len(digits) :]]


@dataclass(frozen=True, kw_only=True)
class Try:
    """One attempt of one task, with what helps to look into it."""

    execution: str
    """Name of the execution: another one where the workflow launched a plan."""

    node: str
    """Node of the workflow; of a sub-workflow its path, such as n4-0-n1."""

    task: str
    """Full name of the task."""

    number: int
    """Attempts before this one."""

    phase: str
    """Flyte's word for its state, such as RUNNING."""

    start: datetime | None
    """When it began to run, or None while it waits."""

    end: datetime | None
    """When it ended, or the last news of it; None while it waits."""

    spot: bool
    """Whether its pod was really interruptible: the last attempt usually is not."""

    resources: Resources
    """What it held."""

    error: str = ""
    """What it died of, or ""."""

    logs: tuple[tuple[str, str], ...] = ()
    """Name and address of each log."""

    @property
    def seconds(self) -> float | None:
        """How long it has run, or None while it waits."""
        if self.start is None or self.end is None:
            return None
        return (self.end - self.start).total_seconds()


def task_resources(template: Any) -> Resources:
    """What a task asks for, from its serialised template (a flyteidl TaskTemplate)."""
    from flyteidl.core import tasks_pb2
    from google.protobuf.json_format import MessageToDict

    names = tasks_pb2.Resources
    requests = {entry.name: entry.value for entry in template.container.resources.requests}
    limits = {entry.name: entry.value for entry in template.container.resources.limits}
    if template.HasField("k8s_pod"):
        requests, limits = _pod_requests(template)
    asked = limits | requests  # Kubernetes takes the limit where no request is given
    accelerator = template.extended_resources.gpu_accelerator.device
    cores, memory = asked.get(names.CPU), asked.get(names.MEMORY)
    gpus = quantity(asked.get(names.GPU, "0"))
    custom = MessageToDict(template.custom) if template.type == "pytorch" else {}
    return Resources(
        cores=quantity(cores) if cores else POD_DEFAULTS[0],
        memory_gib=quantity(memory) / _GIB if memory else POD_DEFAULTS[1],
        gpus=gpus,
        gpu_type=accelerator or "generic",
        nodes=_pods(custom),
    )


def _pods(custom: Mapping[str, Any]) -> int:
    """Pods of a PyTorchJob at its largest."""
    elastic = custom.get("elasticConfig", {})
    workers = custom.get("workerReplicas", {}).get("replicas", 0)
    master = custom.get("masterReplicas", {}).get("replicas", 0)
    return max(1, int(elastic.get("maxReplicas", 0) or (workers + master)))


def _pod_requests(template: Any) -> tuple[dict[int, str], dict[int, str]]:
    from flyteidl.core import tasks_pb2
    from google.protobuf.json_format import MessageToDict

    names = tasks_pb2.Resources
    known = {"cpu": names.CPU, "memory": names.MEMORY, "nvidia.com/gpu": names.GPU}
    primary = template.config.get("primary_container_name", "primary")
    found: list[dict[int, str]] = []
    containers = MessageToDict(template.k8s_pod.pod_spec).get("containers", [])
    resources: dict[str, Any] = next(
        (c.get("resources", {}) for c in containers if c["name"] == primary), {}
    )
    for kind in ("requests", "limits"):
        asked = resources.get(kind, {})
        found.append({known[name]: str(asked[name]) for name in known if name in asked})
    return found[0], found[1]


class Records:
    """Reads executions from the server; each task template is fetched once."""

    def __init__(self, flyte: Flyte) -> None:
        self._flyte = flyte
        self._templates: dict[tuple[str, str], Any] = {}

    def template(self, task_id: Any) -> Any:
        """The registered template of a task, a flyteidl TaskTemplate."""
        from flyteidl.admin.common_pb2 import ObjectGetRequest

        key = (task_id.name, task_id.version)
        if key not in self._templates:
            with self._flyte.calls():
                task = self._flyte.admin.get_task(ObjectGetRequest(id=task_id))
            self._templates[key] = task.closure.compiled_task.template
        return self._templates[key]

    def tries(self, execution_id: Any, *, parent: str = "") -> Iterator[Try]:
        """All attempts of an execution, those of sub-workflows and launched plans included."""
        for node in self._nodes(execution_id, parent):
            if node.id.node_id in _ENDS:
                continue
            launched = node.closure.workflow_node_metadata.executionId
            records = [] if node.metadata.is_parent_node else list(self._records(node.id))
            for record in records:
                yield self._try(record)
            if launched.name:
                yield from self.tries(launched)
            elif not records:
                # Branches are not marked as parents, but what they ran lies under them.
                yield from self.tries(execution_id, parent=node.id.node_id)

    def _nodes(self, execution_id: Any, parent: str) -> Iterator[Any]:
        from flyteidl.admin.node_execution_pb2 import NodeExecutionListRequest

        request = NodeExecutionListRequest(
            workflow_execution_id=execution_id, limit=PAGE, unique_parent_id=parent
        )
        while True:
            with self._flyte.calls():
                answer = self._flyte.admin.list_node_executions_paginated(request)
            yield from answer.node_executions
            request.token = answer.token
            if not request.token:
                return

    def _records(self, node_id: Any) -> Iterator[Any]:
        from flyteidl.admin.task_execution_pb2 import TaskExecutionListRequest

        request = TaskExecutionListRequest(node_execution_id=node_id, limit=PAGE)
        while True:
            with self._flyte.calls():
                answer = self._flyte.admin.list_task_executions_paginated(request)
            yield from answer.task_executions
            request.token = answer.token
            if not request.token:
                return

    def _try(self, record: Any) -> Try:
        from flyteidl.core import execution_pb2
        from flyteidl.event import event_pb2

        closure = record.closure
        start = _moment(closure, "started_at")
        return Try(
            execution=record.id.node_execution_id.execution_id.name,
            node=record.id.node_execution_id.node_id,
            task=record.id.task_id.name,
            number=record.id.retry_attempt,
            phase=execution_pb2.TaskExecution.Phase.Name(closure.phase),
            start=start,
            end=None if start is None else _end(closure, start),
            spot=closure.metadata.instance_class == event_pb2.TaskExecutionMetadata.INTERRUPTIBLE,
            resources=task_resources(self.template(record.id.task_id)),
            error=closure.error.message,
            logs=tuple((log.name, log.uri) for log in closure.logs),
        )


def _moment(message: Any, name: str) -> datetime | None:
    stamp = getattr(message, name)
    return stamp.ToDatetime(UTC) if message.HasField(name) and stamp.seconds else None


def _end(closure: Any, start: datetime) -> datetime:
    if closure.duration.ToTimedelta():
        length: timedelta = closure.duration.ToTimedelta()
        return start + length
    return max(start, _moment(closure, "updated_at") or start)


_OUTCOMES: Mapping[str, Outcome] = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "ABORTED": "killed",
    "RETRYABLE_FAILED": "killed",
}


def billable(
    tries: list[Try], *, execution: str, labels: Mapping[str, str], asked: str | None
) -> list[Attempt]:
    """The attempts that held resources, as accounting bills them.

    Args:
        tries: the records of one execution.
        execution: its name; attempts of executions that it launched carry theirs.
        labels: its labels, which tell the priority.
        asked: how it should have been bought, or None where nobody said.
    """
    return [
        Attempt(
            task=f"{item.node}.{item.task.rpartition('.')[2]}",
            number=item.number,
            start=item.start,
            end=item.end,
            resources=item.resources,
            outcome=_OUTCOMES.get(item.phase, "running"),
            spot=item.spot,
            asked="spot" if asked == "spot" else ("on-demand" if asked else None),
            priority=labels.get(PRIORITY_LABEL, "normal"),
            execution="" if item.execution == execution else item.execution,
        )
        for item in tries
        if item.start is not None and item.end is not None
    ]

"""`oppen executions | status | logs | cancel` and the price of a launch, from Flyte's records."""

# ruff: noqa: ARG001 - fixtures set the scene

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from admin_server import AdminServer
from admin_service import Phase
from flyteidl.admin import node_execution_pb2, task_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2, tasks_pb2
from flyteidl.event import event_pb2
from flyteidl.plugins.kubeflow import pytorch_pb2
from google.protobuf.json_format import MessageToDict

from accounting.usage import Resources
from operations.attempts import task_resources
from operations.exits import Exit

Run = Callable[..., Any]
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday, at peak in the embedded rate card
TASK = execution_pb2.TaskExecution
SPOT, STANDARD = (
    event_pb2.TaskExecutionMetadata.INTERRUPTIBLE,
    event_pb2.TaskExecutionMetadata.DEFAULT,
)

CARD = """\
currency: USD
timezone: UTC
versions:
  - effective: 2020-01-01
    prices:
      core_hour: {price: 0.05, source: test, date: 2026-01-01}
      gpu_hour:
        generic: {price: 0.25, source: test, date: 2026-01-01}
        t4: {price: 0.80, source: test, date: 2026-01-01}
    bands:
      - {name: flat, multiplier: 1, when: otherwise}
    spot: 0.3
    priority: {urgent: 1.5, normal: 1, background: 0.8}
"""


@pytest.fixture
def rates(tmp_path: Path) -> str:
    """A rate card without bands, so that a price does not depend on the hour of the test."""
    path = tmp_path / "rates.yaml"
    path.write_text(CARD)
    return str(path)


def add_attempt(
    server: AdminServer,
    name: str,
    *,
    node: str,
    task: str,
    number: int = 0,
    start: datetime = NOON,
    minutes: float,
    phase: int = TASK.SUCCEEDED,
    instance: int = STANDARD,
    error: str = "",
    log: str = "",
    parent: str = "",
) -> None:
    """Adds what Flyte records of one attempt, and its node when it is the first."""
    execution = server.admin.executions[name]
    node_id = identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=execution.id)
    nodes = server.admin.node_executions.setdefault((name, parent), [])
    if node not in {item.id.node_id for item in nodes}:
        metadata = node_execution_pb2.NodeExecutionMetaData(spec_node_id=node)
        nodes.append(node_execution_pb2.NodeExecution(id=node_id, metadata=metadata))
    closure = task_execution_pb2.TaskExecutionClosure(
        phase=phase,
        metadata=event_pb2.TaskExecutionMetadata(instance_class=instance),
        logs=[execution_pb2.TaskLog(name="Kubernetes", uri=log)] if log else [],
    )
    closure.started_at.FromDatetime(start)
    closure.duration.FromTimedelta(timedelta(minutes=minutes))
    if error:
        closure.error.message = error
    task_id = identifier_pb2.Identifier(
        resource_type=identifier_pb2.TASK,
        project="oppen",
        domain="development",
        name=task,
        version="v1",
    )
    server.admin.task_executions.setdefault((name, node), []).append(
        task_execution_pb2.TaskExecution(
            id=identifier_pb2.TaskExecutionIdentifier(
                task_id=task_id, node_execution_id=node_id, retry_attempt=number
            ),
            closure=closure,
        )
    )


def start(
    server: AdminServer, oppen: Run, name: str, *options: str, end: int | None = None
) -> None:
    """Launches the example under `name`; with `end`, lets it end so."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--name", name, *options)
    assert done.exit_code == Exit.OK, done.output
    if end is not None:
        server.admin.executions[name].closure.phase = end
    else:
        server.admin.executions[name].closure.phase = Phase.RUNNING
        server.admin.scripts[name] = []


def finished_run(server: AdminServer, oppen: Run, name: str, minutes: float) -> None:
    """A successful run of the example: two minutes of preparing, then training."""
    start(server, oppen, name, end=Phase.SUCCEEDED)
    add_attempt(server, name, node="n0", task="example_flows.prepare", minutes=2)
    add_attempt(
        server,
        name,
        node="n1",
        task="example_flows.train",
        start=NOON + timedelta(minutes=3),
        minutes=minutes,
    )


def test_executions_are_listed_newest_first_and_filtered(
    registered: AdminServer, oppen: Run
) -> None:
    """Phase and plan narrow the list; the server does the filtering."""
    start(registered, oppen, "one", end=Phase.SUCCEEDED)
    start(registered, oppen, "two", "--purchase", "spot")
    oppen("launch", "nightly", "--name", "three")
    rows = json.loads(oppen("executions", "--json").stdout)
    assert [row["execution"] for row in rows] == ["three", "two", "one"]
    assert rows[1]["purchase"] == "spot"
    assert rows[0]["priority"] == "background"
    running = json.loads(oppen("executions", "--phase", "running", "--json").stdout)
    assert [row["execution"] for row in running] == ["two"]
    assert "three" in oppen("executions", "--workflow", "night").stdout
    assert len(json.loads(oppen("executions", "--limit", "1", "--json").stdout)) == 1


def test_status_bills_each_attempt_as_it_really_was(
    registered: AdminServer, oppen: Run, rates: str
) -> None:
    """The last attempt of a spot run is on-demand: it costs more, and the difference is shown."""
    start(registered, oppen, "f1", "--purchase", "spot")
    train = {"node": "n1", "task": "example_flows.train"}
    add_attempt(registered, "f1", **train, minutes=60, phase=TASK.RETRYABLE_FAILED, instance=SPOT)
    later = NOON + timedelta(hours=2)
    add_attempt(registered, "f1", **train, number=1, start=later, minutes=30)
    record = json.loads(oppen("status", "f1", "--rates", rates, "--json").stdout)
    hourly = 4 * Decimal("0.05") + Decimal("0.80")
    spot, standard = hourly * Decimal("0.3"), hourly / 2
    assert [row["purchase"] for row in record["attempts"]] == ["spot", "on-demand"]
    assert Decimal(record["bill"]["total_cost_usd"]) == spot + standard
    assert Decimal(record["bill"]["lost_cost_usd"]) == spot
    assert record["bill"]["surprises"] == [
        {"attempt": "n1.train#1", "asked": "spot", "was": "on-demand"}
    ]
    shown = oppen("status", "f1", "--rates", rates).stdout
    assert "n1.train#1 was on-demand, not spot" in shown
    assert "cost so far: 0.8" in shown


def test_the_priority_of_the_labels_is_billed(
    registered: AdminServer, oppen: Run, rates: str
) -> None:
    """An urgent run costs what the card says of urgent runs."""
    start(registered, oppen, "f1", "--priority", "urgent")
    add_attempt(registered, "f1", node="n0", task="example_flows.prepare", minutes=60)
    record = json.loads(oppen("status", "f1", "--rates", rates, "--json").stdout)
    assert Decimal(record["bill"]["total_cost_usd"]) == Decimal("0.05") / 2 * Decimal("1.5")


def test_attempts_in_branches_and_sub_workflows_and_launched_plans_are_found(
    registered: AdminServer, oppen: Run, rates: str
) -> None:
    """What a conditional, a sub-workflow and another execution ran all counts."""
    start(registered, oppen, "f1")
    start(registered, oppen, "f2")
    prepare = {"task": "example_flows.prepare", "minutes": 60}
    add_attempt(registered, "f1", node="n0-0-n1", parent="n0-0", **prepare)
    add_attempt(registered, "f1", node="n1-0-n1", parent="n1", **prepare)
    add_attempt(registered, "f2", node="n1-0-n1", **prepare)
    top = []
    for name, parent in (("start-node", ""), ("n0", ""), ("n0-0", "n0"), ("n1", ""), ("n2", "")):
        node = node_execution_pb2.NodeExecution()
        node.id.node_id = name
        node.id.execution_id.CopyFrom(registered.admin.executions["f1"].id)
        node.metadata.is_parent_node = name == "n1"
        if name == "n2":
            launched = registered.admin.executions["f2"].id
            node.closure.workflow_node_metadata.executionId.CopyFrom(launched)
        top.append((parent, node))
    for parent in ("", "n0"):
        nodes = [node for under, node in top if under == parent]
        registered.admin.node_executions["f1", parent] = nodes
    record = json.loads(oppen("status", "f1", "--rates", rates, "--json").stdout)
    assert list(record["bill"]["by_attempt"]) == [
        "n0-0-n1.prepare#0",
        "n1-0-n1.prepare#0",
        "f2/n1-0-n1.prepare#0",
    ]
    assert Decimal(record["bill"]["total_cost_usd"]) == 3 * Decimal("0.025")


def test_a_node_that_waits_costs_nothing(registered: AdminServer, oppen: Run) -> None:
    """Queued attempts have no start, and cached nodes no attempt at all."""
    start(registered, oppen, "f1")
    add_attempt(
        registered, "f1", node="n1", task="example_flows.train", minutes=0, phase=TASK.QUEUED
    )
    registered.admin.task_executions["f1", "n1"][0].closure.ClearField("started_at")
    record = json.loads(oppen("status", "f1", "--json").stdout)
    assert record["attempts"][0]["start"] is None
    assert Decimal(record["bill"]["total_cost_usd"]) == 0


def test_logs_show_addresses_errors_and_the_pods(registered: AdminServer, oppen: Run) -> None:
    """The error of a dead task and where its log is; kubectl for the rest."""
    start(registered, oppen, "f1")
    add_attempt(
        registered,
        "f1",
        node="n1",
        task="example_flows.train",
        minutes=1,
        phase=TASK.FAILED,
        error="Traceback\nOSError: disk full",
        log="https://logs.example/1",
    )
    add_attempt(registered, "f1", node="n0", task="example_flows.prepare", minutes=1)
    shown = oppen("logs", "f1", "--node", "n1").stdout
    assert "https://logs.example/1" in shown
    assert "OSError: disk full" in shown
    assert "prepare" not in shown
    assert "kubectl logs -n ml-training -l execution-id=f1,node-id=n1" in shown
    missing = oppen("logs", "f1", "--node", "n9")
    assert missing.exit_code == Exit.USAGE
    assert "has run nothing in a node 'n9'" in missing.stderr


def test_cancel_stops_what_runs_and_only_that(registered: AdminServer, oppen: Run) -> None:
    """The cause reaches Flyte; cancelling twice changes nothing."""
    start(registered, oppen, "f1")
    assert oppen("cancel", "f1", "--cause", "wrong data").stdout == "cancelled\n"
    assert oppen("cancel", "f1").stdout == "had ended: ABORTED\n"
    (request,) = registered.admin.received("TerminateExecution")
    assert request.cause == "wrong data"
    assert request.id.name == "f1"


@pytest.mark.parametrize("command", ["status", "logs", "cancel"])
def test_an_unknown_execution_is_named(registered: AdminServer, oppen: Run, command: str) -> None:
    """One line, exit code 2."""
    done = oppen(command, "nobody")
    assert done.exit_code == Exit.USAGE
    assert done.stderr.startswith("oppen: no execution is called 'nobody' in oppen/development")


def test_a_launch_is_priced_by_the_median_of_earlier_runs(
    registered: AdminServer, oppen: Run, rates: str
) -> None:
    """Each task counts with its own machine; a run that went astray does not move the price."""
    for name, minutes in (("f1", 50), ("f2", 60), ("f3", 600)):
        finished_run(registered, oppen, name, minutes)
    priced = ("launch", "pipeline", "-i", "name=a", "--dry-run", "--json", "--rates", rates)
    record = json.loads(oppen(*priced).stdout)
    prepare, train = Decimal("0.5") * Decimal("0.05") / 30, Decimal("0.20") + Decimal("0.80")
    assert Decimal(record["expected_usd"]) == round(prepare + train, 6)
    assert record["expected_seconds"] == 63 * 60
    assert record["expected_basis"] == "median of 3 earlier runs"
    spot = json.loads(oppen(*priced, "--purchase", "spot", "--priority", "urgent").stdout)
    assert Decimal(spot["expected_usd"]) == round((prepare + train) * Decimal("0.45"), 6)


def test_a_launch_over_the_budget_or_past_the_deadline_does_not_start(
    registered: AdminServer, oppen: Run, rates: str
) -> None:
    """Refused with a code of its own before anything is created; --force overrules."""
    given = ("launch", "pipeline", "-i", "name=a", "--rates", rates, "--seconds", "7200")
    dear = oppen(*given, "--budget-usd", "1.50")
    assert dear.exit_code == Exit.BUDGET
    assert "expected to cost 2.0000 USD" in dear.stderr
    late = oppen(*given, "--deadline", "1h")
    assert late.exit_code == Exit.BUDGET
    assert "after the deadline" in late.stderr
    as_input = oppen(*given, "-i", "budget_usd=1.50")
    assert as_input.exit_code == Exit.BUDGET
    assert not registered.admin.received("CreateExecution")
    assert oppen(*given, "--budget-usd", "1.50", "--force").exit_code == Exit.OK
    partly = oppen(*given, "--budget-usd", "1.50", "-i", "over_budget=train")
    assert partly.exit_code == Exit.OK  # it was told to train as far as the money goes
    assert oppen(*given, "--budget-usd", "2", "--deadline", "3h").exit_code == Exit.OK


def test_a_first_launch_says_that_it_knows_no_price(registered: AdminServer, oppen: Run) -> None:
    """No history and no --seconds: the cost is unknown, not zero."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--dry-run")
    assert "expected cost: unknown" in done.stdout


def test_a_gpu_without_a_price_stops_only_what_has_a_budget(
    registered: AdminServer, oppen: Run, tmp_path: Path
) -> None:
    """Launching and looking go on where the card lacks a GPU; holding a budget cannot."""
    card = tmp_path / "no-t4.yaml"
    card.write_text("\n".join(line for line in CARD.splitlines() if "t4" not in line))
    rates = ("--rates", str(card))
    given = ("launch", "pipeline", "-i", "name=a", "--seconds", "60", *rates)
    held = oppen(*given, "--budget-usd", "5")
    assert held.exit_code == Exit.USAGE
    assert "gpu_type is 't4'" in held.stderr
    done = oppen(*given, "--name", "f1")
    assert done.exit_code == Exit.OK
    assert "expected cost: unknown, gpu_type is 't4'" in done.stdout
    add_attempt(registered, "f1", node="n1", task="example_flows.train", minutes=1)
    assert "cost so far: unknown, gpu_type is 't4'" in oppen("status", "f1", *rates).stdout
    assert json.loads(oppen("status", "f1", *rates, "--json").stdout)["bill"] is None


def template(**resources: str) -> tasks_pb2.TaskTemplate:
    """A container task that requests `resources`."""
    names = tasks_pb2.Resources.ResourceName
    entries = [
        tasks_pb2.Resources.ResourceEntry(name=names.Value(key.upper()), value=value)
        for key, value in resources.items()
    ]
    container = tasks_pb2.Container(resources=tasks_pb2.Resources(requests=entries))
    return tasks_pb2.TaskTemplate(container=container)


def test_resources_are_read_from_serialised_tasks() -> None:
    """Quantities, accelerators, multi-node jobs, and what the namespace gives by default."""
    plain = template(cpu="1500m", memory="512Mi", gpu="2")
    plain.extended_resources.gpu_accelerator.device = "nvidia-tesla-t4"
    assert task_resources(plain) == Resources(
        cores=Decimal("1.5"), memory_gib=Decimal("0.5"), gpus=2, gpu_type="t4"
    )
    assert task_resources(template()) == Resources(cores=Decimal("0.5"), memory_gib=Decimal("0.25"))
    job = template(cpu="4", memory="8G", gpu="1")
    job.type = "pytorch"
    spec = pytorch_pb2.DistributedPyTorchTrainingTask(
        worker_replicas=pytorch_pb2.DistributedPyTorchTrainingReplicaSpec(replicas=4),
        elastic_config=pytorch_pb2.ElasticConfig(min_replicas=1, max_replicas=4, nproc_per_node=1),
    )
    job.custom.update(MessageToDict(spec))
    assert task_resources(job).nodes == 4
    assert task_resources(job).memory_gib == Decimal(8 * 10**9) / 2**30


def test_resources_of_a_pod_are_those_of_its_primary_container() -> None:
    """A sidecar's request is not the task's."""
    pod = tasks_pb2.TaskTemplate(config={"primary_container_name": "main"})
    pod.k8s_pod.pod_spec.update(
        {
            "containers": [
                {"name": "sidecar", "resources": {"requests": {"cpu": "9"}}},
                {
                    "name": "main",
                    "resources": {
                        "requests": {"cpu": "2", "memory": "4Gi"},
                        "limits": {"nvidia.com/gpu": "1"},
                    },
                },
            ]
        }
    )
    assert task_resources(pod) == Resources(cores=2, memory_gib=4, gpus=1)

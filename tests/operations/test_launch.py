"""`oppen launch` over gRPC: what the control plane receives, and what the person is told."""

# ruff: noqa: ARG001 - fixtures set the scene

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from admin_server import AdminServer
from admin_service import ACTIVE, Phase
from example_flows import register_examples

from operations.execution import Pace, phase_name, wait_for
from operations.exits import Exit, Unreachable
from operations.remote import connect

PRIORITY, QUEUE = "kueue.x-k8s.io/priority-class", "kueue.x-k8s.io/queue-name"

Run = Callable[..., Any]


def launched(server: AdminServer) -> Any:
    """The one CreateExecution request that arrived."""
    (request,) = server.admin.received("CreateExecution")
    return request


def test_spot_is_interruptible_and_priority_is_labels_and_both_are_inputs(
    registered: AdminServer, oppen: Run
) -> None:
    """Purchase and priority reach Flyte as execution options and the workflow as its inputs."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--purchase", "spot", "--priority", "urgent")
    assert done.exit_code == Exit.OK, done.output
    request = launched(registered)
    assert request.spec.interruptible.value is True
    assert dict(request.spec.labels.values) == {PRIORITY: "urgent", QUEUE: "general"}
    inputs = request.inputs.literals
    assert inputs["priority"].scalar.primitive.string_value == "urgent"
    assert inputs["purchase"].scalar.primitive.string_value == "spot"
    assert f"/console/projects/oppen/domains/development/executions/{request.name}" in done.output


def test_defaults_of_the_workflow_set_the_options_too(registered: AdminServer, oppen: Run) -> None:
    """Without options the declared defaults hold: on-demand is said outright, not left open."""
    assert oppen("launch", "pipeline", "-i", "name=a").exit_code == Exit.OK
    spec = launched(registered).spec
    assert spec.HasField("interruptible")
    assert spec.interruptible.value is False
    assert spec.labels.values[PRIORITY] == "normal"


def test_a_priority_given_as_input_sets_the_labels(registered: AdminServer, oppen: Run) -> None:
    """An input and the option of the same name mean the same."""
    oppen("launch", "pipeline", "-i", "name=a", "-i", "priority=background")
    assert dict(launched(registered).spec.labels.values) == {
        PRIORITY: "background",
        QUEUE: "background",
    }


def test_labels_of_the_plan_survive(registered: AdminServer, oppen: Run) -> None:
    """Flyte replaces a plan's labels by those of a request, so the request carries both."""
    assert oppen("launch", "nightly", "--queue", "night").exit_code == Exit.OK
    assert dict(launched(registered).spec.labels.values) == {
        "team": "vision",
        PRIORITY: "background",
        QUEUE: "night",
    }


def test_every_type_of_input_arrives_typed(registered: AdminServer, oppen: Run) -> None:
    """Text becomes integers, lists, mappings, files, times, spans and words of an enumeration."""
    done = oppen(
        "launch",
        "example_flows.pipeline",
        *("-i", "name=42", "-i", "seeds=[3, 4]", "-i", "rates={a: 0.5}", "-i", "verbose=yes"),
        *("-i", "data=s3://bucket/x", "-i", "size=large", "-i", "patience=90s"),
        *("--budget-usd", "2.50", "--deadline", "2099-01-01T06:00+02:00"),
    )
    assert done.exit_code == Exit.OK, done.output
    inputs = launched(registered).inputs.literals
    assert inputs["name"].scalar.primitive.string_value == "42"
    seeds = [item.scalar.primitive.integer for item in inputs["seeds"].collection.literals]
    assert seeds == [3, 4]
    assert inputs["rates"].map.literals["a"].scalar.primitive.float_value == 0.5
    assert inputs["verbose"].scalar.primitive.boolean is True
    assert inputs["data"].scalar.union.value.scalar.blob.uri == "s3://bucket/x"
    assert inputs["size"].scalar.primitive.string_value == "large"
    assert inputs["patience"].scalar.primitive.duration.ToTimedelta() == timedelta(seconds=90)
    budget = inputs["budget_usd"].scalar.union
    assert budget.value.scalar.primitive.float_value == 2.5
    assert budget.type.structure.tag == "float"
    moment = inputs["deadline"].scalar.union.value.scalar.primitive.datetime.ToDatetime(UTC)
    assert moment == datetime(2099, 1, 1, 4, tzinfo=UTC)


def test_one_field_of_a_mapping_can_be_set_alone(registered: AdminServer, oppen: Run) -> None:
    """Fields that are not named keep the workflow's defaults, at every depth."""
    oppen("launch", "pipeline", "-i", "name=a", "-i", "config.optimizer.learning_rate=3e-4")
    sent = msgpack.loads(launched(registered).inputs.literals["config"].scalar.binary.value)
    assert sent == {"epochs": 10, "optimizer": {"name": "adamw", "learning_rate": 0.0003}}


def test_a_file_of_inputs_is_overridden_by_options(
    registered: AdminServer, oppen: Run, tmp_path: Path
) -> None:
    """`--inputs-file` gives typed values; `--input` wins."""
    file = tmp_path / "inputs.yaml"
    file.write_text("name: from file\nseeds: [9]\nconfig: {epochs: 5, optimizer: {name: sgd}}\n")
    given = ("-i", "name=b", "-i", "config.epochs=7")
    done = oppen("launch", "pipeline", "--inputs-file", str(file), *given)
    assert done.exit_code == Exit.OK, done.output
    inputs = launched(registered).inputs.literals
    assert inputs["name"].scalar.primitive.string_value == "b"
    assert inputs["seeds"].collection.literals[0].scalar.primitive.integer == 9
    config = msgpack.loads(inputs["config"].scalar.binary.value)
    assert config == {"epochs": 7, "optimizer": {"name": "sgd", "learning_rate": 0.01}}


def test_a_local_file_is_uploaded_unless_it_is_a_dry_run(
    registered: AdminServer, oppen: Run, tmp_path: Path
) -> None:
    """The pod gets an address it can read; what does not start uploads nothing."""
    file = tmp_path / "data.csv"
    file.write_text("1,2\n")
    given = ("launch", "pipeline", "-i", "name=a", "-i", f"data={file}")
    assert oppen(*given, "--dry-run").exit_code == Exit.OK
    dear = oppen(*given, "--seconds", "9999999", "--budget-usd", "1")
    assert dear.exit_code == Exit.BUDGET
    assert registered.uploads == {}
    assert oppen(*given).exit_code == Exit.OK
    (name,) = registered.uploads
    assert registered.uploads[name] == b"1,2\n"
    address = launched(registered).inputs.literals["data"].scalar.union.value.scalar.blob.uri
    assert address == f"s3://flyte-data/{name}"


def test_tags_and_environment_reach_the_request(registered: AdminServer, oppen: Run) -> None:
    """`--tag` and `--env` become the execution's own."""
    oppen("launch", "pipeline", "-i", "name=a", "--tag", "ci", "--env", "LEVEL=debug=2")
    spec = launched(registered).spec
    assert list(spec.tags) == ["ci"]
    assert [(e.key, e.value) for e in spec.envs.values] == [("LEVEL", "debug=2")]


def test_a_dry_run_creates_nothing(registered: AdminServer, oppen: Run) -> None:
    """It checks and prices, and says as JSON what it would send."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--dry-run", "--json", "--seconds", "3600")
    record = json.loads(done.stdout)
    assert not registered.admin.received("CreateExecution")
    assert record["dry_run"] is True
    assert record["launch_plan"] == "example_flows.pipeline"
    assert record["labels"][PRIORITY] == "normal"


def test_a_scheduled_plan_that_is_launched_by_hand_starts_now(
    registered: AdminServer, oppen: Run
) -> None:
    """The input that the schedule fills is filled with the present time."""
    done = oppen("launch", "morning")
    assert done.exit_code == Exit.OK, done.output
    moment = launched(registered).inputs.literals["kickoff"].scalar.primitive.datetime
    assert abs(moment.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_workflow_without_such_inputs_still_gets_priority_and_purchase(
    registered: AdminServer, oppen: Run
) -> None:
    """Labels and the option hold without the workflow; left out, nothing is set."""
    oppen("launch", "free", "--name", "f1")
    assert not registered.admin.executions["f1"].spec.HasField("interruptible")
    assert not registered.admin.executions["f1"].spec.labels.values
    oppen("launch", "free", "--name", "f2", "--priority", "background", "--purchase", "spot")
    spec = registered.admin.executions["f2"].spec
    assert spec.interruptible.value is True
    assert dict(spec.labels.values) == {PRIORITY: "background", QUEUE: "background"}
    assert not registered.admin.received("CreateExecution")[1].inputs.literals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("piplin",), "did you mean 'pipeline'?"),
        (("pipeline",), "needs the input 'name' (text): add --input name=..."),
        (("pipeline", "-i", "nam=a"), "has no input 'nam'; did you mean 'name'?"),
        (("pipeline", "-i", "name"), "--input 'name' is not key=value"),
        (("pipeline", "-i", "name=a", "-i", "seeds=3"), "input 'seeds' wants a list of integer"),
        (("pipeline", "-i", "name=a", "-i", "seeds=[a]"), "wants an integer, got 'a'"),
        (("pipeline", "-i", "name=a", "-i", "size=tiny"), "wants one of small, large, got 'tiny'"),
        (("pipeline", "-i", "name=a", "-i", "config.epoch=3"), "did you mean 'epochs'?"),
        (("pipeline", "-i", "name=a", "-i", "config.epochs=x"), "wrong field 'epochs'"),
        (("pipeline", "-i", "name=a", "-i", "data=none.csv"), "wants a file or an address"),
        (("pipeline", "-i", "name=a", "-i", "priority=high"), "priority is 'high'; it is one of"),
        (("pipeline", "-i", "name=a", "--budget-usd", "-1"), "--budget-usd -1 must be more than"),
        (("pipeline", "-i", "name=a", "--deadline", "2020-01-01"), "has passed"),
        (("pipeline", "-i", "name=a", "--timeout", "soon"), "'soon' is no time span such as 90s"),
        (("pipeline", "-i", "name=a", "--deadline", "soon"), "is neither a time such as"),
        (("pipeline", "-i", "name=a", "--version", "v9"), "has no version 'v9'"),
        (("pipeline", "-i", "name=a", "--name", "Big"), "--name 'Big' may only have"),
        (("free", "--budget-usd", "2"), "free takes no budget_usd, so nothing would hold it"),
        (("nightly", "--priority", "urgent"), "nightly fixes priority to 'background'"),
        (("nightly", "-i", "priority=urgent"), "nightly fixes the input 'priority'"),
        (
            ("pipeline", "-i", "name=a", "-i", "purchase=spot", "--purchase", "on-demand"),
            "contradicts 'on-demand' of the option",
        ),
    ],
)
def test_what_cannot_be_launched_is_refused_in_one_line(
    registered: AdminServer, oppen: Run, arguments: tuple[str, ...], said: str
) -> None:
    """Every mistake of the person ends with one line, exit code 2 and nothing created."""
    done = oppen("launch", *arguments)
    assert done.exit_code == Exit.USAGE, done.output
    assert said in done.stderr
    assert done.stderr.startswith("oppen: ")
    assert done.stderr.count("\n") == 1
    assert not registered.admin.received("CreateExecution")


def test_the_active_version_is_launched_or_else_the_newest(
    registered: AdminServer, config: Path, oppen: Run
) -> None:
    """An activated version is what was meant to run; without one it is the latest."""
    register_examples(config, version="v2")
    oppen("launch", "nightly")
    registered.admin.plans["nightly", "v1"].closure.state = ACTIVE
    oppen("launch", "nightly")
    oppen("launch", "nightly", "--version", "v2")
    versions = [
        request.spec.launch_plan.version for request in registered.admin.received("CreateExecution")
    ]
    assert versions == ["v2", "v1", "v2"]


def test_a_lost_answer_starts_no_second_run(registered: AdminServer, oppen: Run) -> None:
    """The client names the execution, so that the retry of a broken call finds the first."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--name", "weekly-7")
    again = oppen("launch", "pipeline", "-i", "name=a", "--name", "weekly-7")
    assert "launched" in done.output
    assert again.exit_code == Exit.OK, again.output
    assert "had launched" in again.output
    assert list(registered.admin.executions) == ["weekly-7"]

    registered.admin.refuse("CreateExecution", grpc.StatusCode.UNAVAILABLE, "connection reset")
    assert oppen("launch", "pipeline", "-i", "name=a").exit_code == Exit.OK
    assert len(registered.admin.executions) == 2
    first, second = registered.admin.received("CreateExecution")[-2:]
    assert first.name == second.name


def test_a_name_of_another_plan_is_refused(registered: AdminServer, oppen: Run) -> None:
    """An execution that exists is only taken for this one when it runs the same plan."""
    oppen("launch", "nightly", "--name", "taken")
    done = oppen("launch", "pipeline", "-i", "name=a", "--name", "taken")
    assert done.exit_code == Exit.USAGE
    assert "an execution called taken of nightly exists" in done.stderr


@pytest.mark.parametrize(
    ("phases", "code"),
    [
        ([Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED], Exit.OK),
        ([Phase.RUNNING, Phase.FAILED], Exit.FAILED),
        ([Phase.ABORTED], Exit.FAILED),
        ([Phase.TIMED_OUT], Exit.FAILED),
    ],
)
def test_waiting_ends_with_the_fate_of_the_execution(
    registered: AdminServer, oppen: Run, phases: list[int], code: Exit
) -> None:
    """`--wait` shows each change of phase and fails when the execution does."""
    registered.admin.script = [Phase.QUEUED, *phases]  # the first look is FlyteRemote's own
    done = oppen("launch", "pipeline", "-i", "name=a", "--wait", "--poll", "0")
    assert done.exit_code == code, done.output
    for phase in phases:
        assert Phase.Phase.Name(phase) in done.output
    if Phase.FAILED in phases:
        assert "RuntimeError: loss is not finite" in done.stderr


def test_a_timeout_of_the_wait_leaves_the_run_alone(registered: AdminServer, oppen: Run) -> None:
    """Giving up the wait has a code of its own and terminates nothing."""
    registered.admin.script = [Phase.RUNNING] * 50
    done = oppen(
        "launch", "pipeline", "-i", "name=a", "--wait", "--poll", "0.01", "--timeout", "0.05s"
    )
    assert done.exit_code == Exit.STILL_RUNNING
    assert not registered.admin.received("TerminateExecution")


def test_a_waited_run_answers_with_one_json_object(registered: AdminServer, oppen: Run) -> None:
    """`--wait --json` prints once, at the end, with the phase."""
    done = oppen("launch", "pipeline", "-i", "name=a", "--wait", "--poll", "0", "--json")
    assert json.loads(done.stdout)["phase"] == "SUCCEEDED"


def test_a_wait_outlives_an_outage_of_the_server(
    registered: AdminServer, oppen: Run, config: Path
) -> None:
    """An upgrade of Flyte in the middle of a night's training fails nothing; a long one does."""
    registered.admin.script = [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]
    oppen("launch", "pipeline", "-i", "name=a", "--name", "f1")
    flyte = connect(config=config, project=None, domain=None)
    registered.admin.refuse("GetExecution", grpc.StatusCode.UNAVAILABLE, "upgrading", times=6)
    said: list[str] = []
    pace = Pace(poll_seconds=0, timeout_seconds=None)
    execution = wait_for(flyte, "f1", pace, say=said.append)
    assert phase_name(execution) == "SUCCEEDED"
    assert said[0].startswith("waiting on: cannot reach Flyte")
    assert said[1:] == ["RUNNING", "SUCCEEDED"]

    registered.admin.refuse("GetExecution", grpc.StatusCode.UNAVAILABLE, "gone", times=50)
    impatient = replace(pace, outage_seconds=0)
    with pytest.raises(Unreachable, match="cannot reach Flyte"):
        wait_for(flyte, "f1", impatient, say=said.append)


def test_a_run_that_may_have_started_is_named(registered: AdminServer, oppen: Run) -> None:
    """When the server vanishes right after the request, the person can look before repeating it."""
    registered.admin.refuse("GetExecution", grpc.StatusCode.UNAVAILABLE, "upgrading", times=4)
    done = oppen("launch", "pipeline", "-i", "name=a")
    (name,) = registered.admin.executions
    assert done.exit_code == Exit.CONNECTION
    assert f"it may have started: see oppen status {name}" in done.stderr

"""What a cluster is told: every task, workflow and launch plan, as it is registered."""

import ast
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("tasks", "workflows", "launchplans")
ROLES = {role: f"registry.example/oppen/{role}:abc" for role in ("tasks", "training")}
TERMS = ("budget_usd", "deadline", "priority", "purchase")
SIDE_EFFECTS = ("open", "price", "register", "store", "publish", "promote", "package", "cost")
"""Words in the names of tasks that act on the world outside, or on nothing but numbers."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Specs:
    """Serialised entities by full name."""

    tasks: dict[str, Any]
    """TaskTemplate messages."""

    workflows: dict[str, Any]
    """WorkflowTemplate messages."""

    plans: dict[str, Any]
    """LaunchPlan specs; workflows' own plans are left out."""


def settings() -> Any:
    """Settings of a registration, with an image for each role."""
    from flytekit.configuration import Image, ImageConfig, SerializationSettings

    images = [Image(name=r, fqn=f"registry.example/oppen/{r}", tag="abc") for r in ROLES]
    return SerializationSettings(
        image_config=ImageConfig(default_image=None, images=images),
        project="oppen",
        domain="development",
        version="abc",
    )


def serialised(entity: Any) -> Any:
    """The message that registers one entity."""
    from flytekit.tools.translator import get_serializable

    return get_serializable(OrderedDict(), settings(), entity).to_flyte_idl()


def named_here(plan: Any) -> bool:
    """Whether a plan of this project has a name of its own, unlike the workflows' default plans."""
    return plan.name != plan.workflow.name and plan.workflow.name.partition(".")[0] in ROOMS


@pytest.fixture(scope="module")
def specs() -> Specs:
    """All entities of the project."""
    return collected()


def collected() -> Specs:
    """Imports all modules of the rooms and serialises what they define."""
    from flytekit.core.base_task import PythonTask
    from flytekit.core.context_manager import FlyteEntities
    from flytekit.core.launch_plan import LaunchPlan
    from flytekit.core.workflow import WorkflowBase

    for room in ROOMS:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            importlib.import_module(module.name)
    found = Specs(tasks={}, workflows={}, plans={})
    for entity in FlyteEntities.entities:
        own = entity.name.partition(".")[0] in ROOMS
        if isinstance(entity, PythonTask) and own:
            found.tasks[entity.name] = serialised(entity).template
        elif isinstance(entity, WorkflowBase) and own:
            found.workflows[entity.name] = serialised(entity).template
        elif isinstance(entity, LaunchPlan) and named_here(entity):
            found.plans[entity.name] = serialised(entity).spec
    assert found.tasks
    assert found.workflows
    return found


def resources(template: Any, kind: str) -> dict[str, str]:
    """Requests or limits of a task's container, by resource name."""
    from flyteidl.core.tasks_pb2 import Resources

    entries = getattr(template.container.resources, kind)
    return {Resources.ResourceName.Name(entry.name): entry.value for entry in entries}


def gpus(template: Any) -> int:
    """GPUs that one pod of the task holds."""
    return int(resources(template, "requests").get("GPU", "0"))


def acting(specs: Specs) -> Iterator[tuple[str, Any]]:
    """The tasks that price, register, upload, publish."""
    for name, template in specs.tasks.items():
        if name.rpartition(".")[2].startswith(SIDE_EFFECTS):
            yield name, template


def test_every_task_runs_in_the_image_of_a_role(specs: Specs) -> None:
    """Images are named by role, so that a registration decides where they come from."""
    for name, template in specs.tasks.items():
        assert template.container.image in ROLES.values(), name


def test_every_task_requests_what_it_is_limited_to(specs: Specs) -> None:
    """Equal requests and limits: no pod is evicted first, and the bill is what the pod held."""
    for name, template in specs.tasks.items():
        requests, limits = resources(template, "requests"), resources(template, "limits")
        assert requests == limits, name
        assert {"CPU", "MEMORY"} <= set(requests), name


def test_every_task_ends_by_itself_and_is_tried_again(specs: Specs) -> None:
    """No task runs without a timeout, and none gives up at the first lost node."""
    for name, template in specs.tasks.items():
        assert template.metadata.timeout.seconds > 0, name
        assert template.metadata.retries.retries > 0, name


def test_training_holds_gpus_with_shared_memory(specs: Specs) -> None:
    """Whoever trains gets the GPU and a /dev/shm for loaders and NCCL; the image has torch."""
    training = {n: t for n, t in specs.tasks.items() if n.rpartition(".")[2].startswith("train")}
    assert training
    for name, template in training.items():
        assert gpus(template) > 0, name
        assert template.extended_resources.shared_memory.mount_path == "/dev/shm", name  # noqa: S108 - of the pod
        assert template.container.image == ROLES["training"], name


def test_no_gpu_is_held_while_pricing_registering_or_uploading(specs: Specs) -> None:
    """What needs no torch runs in the light image without a GPU."""
    names = [name for name, _ in acting(specs)]
    assert names
    for name, template in acting(specs):
        assert gpus(template) == 0, name
        assert template.container.image == ROLES["tasks"], name


ACCELERATORS = {"SMALL_GPU": "T4", "GPU": "A100", "GPU_PAIR": "L4"}
"""A GPU type for each row of the machine table that has GPUs, by its name in flytekit."""

WITH_ACCELERATORS = """
import importlib.util, json, sys
from dataclasses import replace
from flytekit.extras import accelerators
from tasks import machines
for row, name in json.loads(sys.argv[2]).items():
    machine = replace(getattr(machines, row), accelerator=getattr(accelerators, name))
    setattr(machines, row, machine)
spec = importlib.util.spec_from_file_location("specs", sys.argv[1])
specs = sys.modules["specs"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(specs)
found = specs.collected().tasks.items()
print(json.dumps({
    name: [task.extended_resources.gpu_accelerator.device, specs.resources(task, "requests")]
    for name, task in found
}))
"""


def test_the_accelerator_of_a_row_selects_nodes_for_all_its_tasks(specs: Specs) -> None:
    """One changed row asks for a GPU type in every task of it, PyTorchJobs too; others name none.

    Flyte turns the device into the node selector of each pod, those of a job's workers included.
    """
    from flytekit.extras import accelerators

    from tasks import machines

    rows = {name: row for name, row in vars(machines).items() if isinstance(row, machines.Machine)}
    assert {name for name, row in rows.items() if row.gpus} == set(ACCELERATORS)
    device_of = {
        (str(row.cores), f"{row.memory_gib}Gi", str(row.gpus)): getattr(
            accelerators, ACCELERATORS[name]
        )
        .to_flyte_idl()
        .device
        for name, row in rows.items()
        if row.gpus
    }
    assert len(device_of) == len(set(device_of.values())) == len(ACCELERATORS)
    command = [sys.executable, "-c", WITH_ACCELERATORS, __file__, json.dumps(ACCELERATORS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    changed = json.loads(done.stdout.splitlines()[-1])
    assert changed.keys() == specs.tasks.keys()
    for name, (device, asked) in changed.items():
        size = (asked["CPU"], asked["MEMORY"], asked.get("GPU", "0"))
        assert device == device_of.get(size, ""), name
    jobs = {name for name, task in specs.tasks.items() if task.type == "pytorch"}
    assert jobs
    assert {changed[name][0] for name in jobs} == {"nvidia-tesla-t4"}


def test_any_gpu_will_do_by_default(specs: Specs) -> None:
    """No row names a type yet, so no node needs the label."""
    for name, template in specs.tasks.items():
        assert not template.extended_resources.HasField("gpu_accelerator"), name


def test_several_nodes_are_an_elastic_pytorch_job(specs: Specs) -> None:
    """One to four pods of one GPU each rendezvous by themselves and leave nothing behind.

    A PyTorchJob with a fixed master has 1 + (n - 1) pods and dies with the master; an elastic one
    has n equal workers, any of which may go.
    """
    jobs = {name: task for name, task in specs.tasks.items() if task.type == "pytorch"}
    assert "tasks.train_image_elastic.train_classifier_nodes" in jobs
    for name, job in jobs.items():
        custom = MessageToDict(job.custom)
        assert custom["elasticConfig"] == {
            "rdzvBackend": "c10d",
            "minReplicas": 1,
            "maxReplicas": 4,
            "nprocPerNode": 1,
            "maxRestarts": 3,
        }, name
        assert custom["workerReplicas"]["replicas"] == 4, name
        assert "replicas" not in custom.get("masterReplicas", {}), name
        assert custom["runPolicy"]["cleanPodPolicy"] == "CLEANPOD_POLICY_ALL", name
        assert custom["runPolicy"]["ttlSecondsAfterFinished"] == 600, name
        assert gpus(job) == 1, name
        assert job.extended_resources.shared_memory.mount_path == "/dev/shm", name  # noqa: S108 - of the pod


def elastic_tasks() -> dict[str, Any]:
    """The tasks that torchrun starts, by name."""
    from flytekit.core.context_manager import FlyteEntities
    from flytekitplugins.kfpytorch import Elastic

    return {
        entity.name: entity
        for entity in FlyteEntities.entities
        if isinstance(getattr(entity, "task_config", None), Elastic)
        and entity.name.partition(".")[0] in ROOMS
    }


def test_one_node_needs_no_operator(specs: Specs) -> None:
    """Two processes on one node are a plain pod with a GPU for each."""
    pods = {n: task for n, task in elastic_tasks().items() if task.task_config.nnodes == 1}
    assert "tasks.train_image_elastic.train_classifier_ddp" in pods
    for name, task in pods.items():
        assert specs.tasks[name].type == "python-task"
        assert gpus(specs.tasks[name]) == task.task_config.nproc_per_node == 2


@pytest.mark.usefixtures("specs")
def test_rendezvous_waits_for_nodes_that_pull_their_image() -> None:
    """A node may take minutes to be ready; reading must not time out before joining does."""
    for name, task in elastic_tasks().items():
        waits = task.task_config.rdzv_configs
        assert {"timeout", "join_timeout", "read_timeout"} <= set(waits), name
        assert min(waits.values()) >= 900, name
        assert not task.task_config.increase_shared_mem, name  # the machine table does it


def test_no_decision_stands_within_the_branch_of_another(specs: Specs) -> None:
    """On one machine flytekit would run every branch of the inner one (flyte#6426)."""

    def branches(workflow: Any) -> Iterator[Any]:
        for node in workflow.nodes:
            if node.HasField("branch_node"):
                decision = node.branch_node.if_else
                yield from (decision.case.then_node, *(c.then_node for c in decision.other))
                if decision.HasField("else_node"):
                    yield decision.else_node

    def decides(name: str) -> bool:
        return any(True for _ in branches(specs.workflows[name])) or any(
            decides(node.workflow_node.sub_workflow_ref.name)
            for node in specs.workflows[name].nodes
            if node.workflow_node.HasField("sub_workflow_ref")
        )

    found = {name for name in specs.workflows if decides(name)}
    assert {name.rpartition(".")[2] for name in found} >= {"retrain_if_needed", "weekly_retraining"}
    for name in found:
        for node in branches(specs.workflows[name]):
            assert not node.HasField("branch_node"), name
            inner = node.workflow_node.sub_workflow_ref.name
            assert inner not in found, f"{name} decides whether {inner} decides"


def test_only_preparation_is_cached(specs: Specs) -> None:
    """Prepared data is kept by its content; what acts, trains or measures is done anew."""
    cached = {name for name, t in specs.tasks.items() if t.metadata.discoverable}
    assert cached
    for name in cached:
        assert name.rpartition(".")[2].startswith("prepare"), name
        assert specs.tasks[name].metadata.discovery_version, name
    assert not cached & {name for name, _ in acting(specs)}


def test_spot_is_asked_for_by_launches_not_by_tasks(specs: Specs) -> None:
    """Only what handles data may be interrupted whatever the launch says: it is soon redone."""
    acting_names = {name for name, _ in acting(specs)}
    for name, template in specs.tasks.items():
        if template.metadata.interruptible:
            assert gpus(template) == 0, name
            assert name not in acting_names


HUB_LOGIN = {("huggingface", "token", "ANY")}
GIT_LOGIN = {
    ("oppen-git", key, "FILE") for key in ("username", "password", "ssh-privatekey", "known_hosts")
}
LOGINS = {"tasks.hub.hub_token": HUB_LOGIN, "tasks.publish.publish_champion": GIT_LOGIN}
"""Functions that sign in with Flyte secrets, by group, key and how each is mounted."""


def secrets(template: Any) -> set[tuple[str, str, str]]:
    """The secrets that a task requests."""
    from flyteidl.core.security_pb2 import Secret

    return {
        (one.group, one.key, Secret.MountType.Name(one.mount_requirement))
        for one in template.security_context.secrets
    }


@cache
def called(name: str) -> frozenset[str]:
    """Functions of the tasks' room that a function names in its body, by full name."""
    module, _, function = name.rpartition(".")
    tree = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text("utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    known = {here: f"{module}.{here}" for here in functions}
    known |= {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tasks.")
        for alias in node.names
    }
    if function not in functions:
        return frozenset()
    words = {n.id for n in ast.walk(functions[function]) if isinstance(n, ast.Name)}
    return frozenset(known[word] for word in words & known.keys())


def reached(name: str) -> set[str]:
    """All functions of the tasks' room that a call of this one may come to."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for one in called(waiting.pop()) - found:
            found.add(one)
            waiting.append(one)
    return found


def test_a_task_requests_the_secrets_that_it_uses_and_no_others(specs: Specs) -> None:
    """Who comes to a function that signs in gets its login mounted, by group and key; nobody else.

    Open-source Flyte takes the group for the name of the Kubernetes Secret.
    """
    asking = set()
    for name, template in specs.tasks.items():
        needed = [login for function, login in LOGINS.items() if function in reached(name)]
        assert secrets(template) == set().union(*needed), name
        if needed:
            asking.add(name)
    assert {
        "tasks.agent_base.prepare_base",
        "tasks.text.prepare_text",
        "tasks.train_text.train_language_model",
        "tasks.train_text_elastic.train_language_model_ddp",
        "tasks.publish.publish_agent",
        "tasks.publish.keep_champion",
    } <= asking


def test_every_secret_is_documented(specs: Specs) -> None:
    """The guide on security has a row for each Secret, with its keys and the tasks' namespace."""
    guide = ROOT / "docs" / "guides" / "security.md"
    rows = [line for line in guide.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    for group, key, _ in set().union(*(secrets(t) for t in specs.tasks.values())):
        (row,) = [row for row in rows if row.startswith(f"| `{group}` | `ml-training` |")]
        assert f"`{key}`" in row


def test_no_login_is_part_of_a_spec(specs: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever registers may hold every login: nothing of it is serialised, and no task sets one."""
    from flytekit.core.context_manager import FlyteEntities

    for template in specs.tasks.values():
        names = {one.key for one in template.container.env}
        assert not [name for name in names if re.search("KEY|SECRET|PASSWORD|TOKEN", name)]
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "made-up-login")
    monkeypatch.setenv("OPPEN_GIT_REPOSITORY", "https://user:made-up-login@git.example/a.git")
    again = [e for e in FlyteEntities.entities if getattr(e, "name", "") in specs.tasks]
    assert len(again) == len(specs.tasks)
    for entity in again:
        assert b"made-up-login" not in serialised(entity).SerializeToString(), entity.name


def test_the_hub_token_is_read_where_flyte_mounts_it(tmp_path: Path) -> None:
    """A file named by group and key, below the folder that Flyte's webhook tells of."""
    pod = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"} | {
        "FLYTE_INTERNAL_EXECUTION_ID": "abc",
        "FLYTE_SECRETS_DEFAULT_DIR": str(tmp_path),
        "FLYTE_SECRETS_FILE_PREFIX": "",
    }

    def token() -> str:
        """What a task finds."""
        ask = "from tasks.hub import hub_token; print(hub_token())"
        command = [sys.executable, "-c", ask]
        return subprocess.run(
            command, env=pod, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert token() == "None"
    ((group, key, _),) = HUB_LOGIN
    (tmp_path / group).mkdir()
    (tmp_path / group / key).write_text("made-up-token\n")
    assert token() == "made-up-token"


def test_every_pipeline_takes_the_terms_of_a_launch(specs: Specs) -> None:
    """Budget, deadline, priority and purchase are inputs with defaults, in every pipeline."""
    pipelines = {n for n in specs.workflows if n.endswith("_pipeline")}
    assert pipelines
    for name in pipelines:
        inputs = set(specs.workflows[name].interface.inputs.variables)
        assert set(TERMS) <= inputs, name


def bound(spec: Any) -> set[str]:
    """The inputs of a plan that need nobody to give them."""
    parameters = spec.default_inputs.parameters
    given = {name for name, parameter in parameters.items() if not parameter.required}
    return given | set(spec.fixed_inputs.literals)


def scheduled(specs: Specs) -> list[tuple[str, Any]]:
    """The plans that fire by themselves."""
    return [
        (name, spec)
        for name, spec in specs.plans.items()
        if spec.entity_metadata.schedule.WhichOneof("ScheduleExpression")
    ]


def test_scheduled_plans_can_fire(specs: Specs) -> None:
    """Flytekit accepts open inputs and wrong kickoff arguments; such a plan fails in silence."""
    for name, spec in scheduled(specs):
        schedule = spec.entity_metadata.schedule
        inputs = set(spec.default_inputs.parameters) | set(spec.fixed_inputs.literals)
        kickoff = {schedule.kickoff_time_input_arg} - {""}
        assert kickoff <= inputs, name
        assert inputs - bound(spec) <= kickoff, name
        assert len(schedule.cron_schedule.schedule.split()) == 5, name


def test_labels_and_interruptible_of_a_plan_follow_its_terms(specs: Specs) -> None:
    """What a plan says in its inputs it also asks of the cluster: Kueue's class and queue."""
    from operations.launching import PRIORITY_LABEL, QUEUE_LABEL, QUEUES
    from operations.literals import plain

    for name, spec in specs.plans.items():
        literals = {k: p.default for k, p in spec.default_inputs.parameters.items()}
        literals |= dict(spec.fixed_inputs.literals)
        if "priority" not in literals:
            continue
        priority, labels = plain(literals["priority"]), spec.labels.values
        if priority != "normal" or labels:
            assert labels[PRIORITY_LABEL] == priority, name
            assert labels[QUEUE_LABEL] == QUEUES[priority], name

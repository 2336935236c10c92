"""A Flyte control plane in memory: the AdminService of flyteidl, as far as Oppen calls it.

It follows flyteadmin where that decides what a client sees: defaults and fixed inputs of a launch
plan, labels of a request replacing those of the plan, one active version per plan, execution names.
"""

# ruff: noqa: N802, ARG002, D102 - gRPC gives the names and the arguments of its methods

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import grpc
from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    task_pb2,
    version_pb2,
    workflow_pb2,
)
from flyteidl.core import compiler_pb2, identifier_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.service import admin_pb2_grpc
from google.protobuf.message import Message

Phase = core_execution_pb2.WorkflowExecution
ACTIVE, INACTIVE = launch_plan_pb2.ACTIVE, launch_plan_pb2.INACTIVE
FINISHED = (Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT)
_EXECUTION_NAME = re.compile(r"[a-z][a-z\-0-9]{0,62}")

Key = tuple[str, str]  # name, version


class Refused(Exception):  # noqa: N818 - it is a status, not a fault of this server
    """A gRPC status that the next call to `method` answers with."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    context.abort(code, details)
    raise AssertionError("abort raises")


def page(items: Sequence[Any], request: Any) -> tuple[Sequence[Any], str]:
    """One page of `items` and the token of the next, "" at the end."""
    start = int(request.token or 0)
    stop = start + (request.limit or 100)
    return items[start:stop], str(stop) if stop < len(items) else ""


def matches(filters: str, fields: dict[str, str]) -> bool:
    """Whether `fields` pass a filter expression such as `eq(phase,RUNNING)+ne(name,x)`."""
    for function, field, value in re.findall(r"(\w+)\(([\w.]+),([^)]*)\)", filters):
        actual = fields[field]
        wanted = value.split(";")
        holds = {
            "eq": actual == value,
            "ne": actual != value,
            "contains": value in actual,
            "value_in": actual in wanted,
        }[function]
        if not holds:
            return False
    return True


def _tasks_of(nodes: Iterable[Any]) -> Iterable[Any]:
    for node in nodes:
        if node.HasField("task_node"):
            yield node.task_node.reference_id
        if node.HasField("array_node"):
            yield from _tasks_of([node.array_node.node])
        if node.HasField("branch_node"):
            branches = node.branch_node.if_else
            yield from _tasks_of([branches.case.then_node, branches.else_node])
            yield from _tasks_of(other.then_node for other in branches.other)


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The state of the control plane; `requests` keeps every request as it arrived."""

    def __init__(self, projects: Sequence[str], domains: Sequence[str]) -> None:
        self.projects, self.domains = list(projects), list(domains)
        self.requests: list[tuple[str, Message]] = []
        self.refusals: dict[str, list[Refused]] = {}
        self.tasks: dict[Key, task_pb2.Task] = {}
        self.workflows: dict[Key, workflow_pb2.Workflow] = {}
        self.plans: dict[Key, launch_plan_pb2.LaunchPlan] = {}
        self.entity_states: dict[tuple[int, str], int] = {}
        self.executions: dict[str, execution_pb2.Execution] = {}
        self.script: list[int] = [Phase.SUCCEEDED]
        self.scripts: dict[str, list[int]] = {}
        self.node_executions: dict[tuple[str, str], list[node_execution_pb2.NodeExecution]] = {}
        self.task_executions: dict[tuple[str, str], list[task_execution_pb2.TaskExecution]] = {}
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    # What tests use.

    def received(self, method: str) -> list[Any]:
        """The requests of one method, oldest first."""
        return [request for name, request in self.requests if name == method]

    def refuse(self, method: str, code: grpc.StatusCode, details: str, *, times: int = 1) -> None:
        """Makes the next `times` calls of `method` fail."""
        self.refusals.setdefault(method, []).extend([Refused(code, details)] * times)

    def observe(self, method: str, request: Message, context: grpc.ServicerContext) -> None:
        """Called for every request before it is served."""
        self.requests.append((method, request))
        if queue := self.refusals.get(method):
            refusal = queue.pop(0)
            _refuse(context, refusal.code, refusal.details)

    def _now(self) -> datetime:
        self._clock += timedelta(seconds=1)
        return self._clock

    # Projects.

    def ListProjects(self, request: Any, context: Any) -> Any:
        domains = [project_pb2.Domain(id=name, name=name) for name in self.domains]
        projects = [project_pb2.Project(id=n, name=n, domains=domains) for n in self.projects]
        return project_pb2.Projects(projects=projects)

    def GetDomains(self, request: Any, context: Any) -> Any:
        return project_pb2.GetDomainsResponse(
            domains=[project_pb2.Domain(id=n, name=n) for n in self.domains]
        )

    def GetVersion(self, request: Any, context: Any) -> Any:
        return version_pb2.GetVersionResponse(
            control_plane_version=version_pb2.Version(Version="v1.16.0")
        )

    def _check_project(self, project: str, domain: str, context: Any) -> None:
        if project not in self.projects:
            _refuse(context, grpc.StatusCode.NOT_FOUND, f"failed to find project [{project}]")
        if domain not in self.domains:
            text = f"domain [{domain}] is unrecognized by system"
            _refuse(context, grpc.StatusCode.NOT_FOUND, text)

    # Registration.

    def _create(self, table: dict[Key, Any], request: Any, build: Callable[[], Any], c: Any) -> Any:
        self._check_project(request.id.project, request.id.domain, c)
        key = (request.id.name, request.id.version)
        if key in table:
            _refuse(c, grpc.StatusCode.ALREADY_EXISTS, f"{key} exists")
        table[key] = build()

    def CreateTask(self, request: Any, context: Any) -> Any:
        def build() -> Any:
            closure = task_pb2.TaskClosure(
                compiled_task=compiler_pb2.CompiledTask(template=request.spec.template)
            )
            return task_pb2.Task(id=request.id, closure=closure)

        self._create(self.tasks, request, build, context)
        return task_pb2.TaskCreateResponse()

    def CreateWorkflow(self, request: Any, context: Any) -> Any:
        def build() -> Any:
            templates = [request.spec.template, *request.spec.sub_workflows]
            ids = {(i.name, i.version): i for t in templates for i in _tasks_of(t.nodes)}
            compiled = [compiler_pb2.CompiledWorkflow(template=t) for t in templates]
            closure = compiler_pb2.CompiledWorkflowClosure(
                primary=compiled[0],
                sub_workflows=compiled[1:],
                tasks=[self.tasks[key].closure.compiled_task for key in ids],
            )
            return workflow_pb2.Workflow(
                id=request.id, closure=workflow_pb2.WorkflowClosure(compiled_workflow=closure)
            )

        self._create(self.workflows, request, build, context)
        return workflow_pb2.WorkflowCreateResponse()

    def CreateLaunchPlan(self, request: Any, context: Any) -> Any:
        def build() -> Any:
            closure = launch_plan_pb2.LaunchPlanClosure(
                state=INACTIVE, expected_inputs=request.spec.default_inputs
            )
            closure.created_at.FromDatetime(self._now())
            return launch_plan_pb2.LaunchPlan(id=request.id, spec=request.spec, closure=closure)

        self._create(self.plans, request, build, context)
        return launch_plan_pb2.LaunchPlanCreateResponse()

    # Tasks, workflows and plans.

    def _get(self, table: dict[Key, Any], id_: Any, context: Any) -> Any:
        entity = table.get((id_.name, id_.version))
        if entity is None or entity.id.project != id_.project or entity.id.domain != id_.domain:
            _refuse(context, grpc.StatusCode.NOT_FOUND, f"missing entity {id_.name}")
        return entity

    def _list(self, table: dict[Key, Any], id_: Any) -> list[Any]:
        """All versions in a project and domain, newest first, of one name when it is given."""
        return [
            entity
            for entity in reversed(table.values())
            if (entity.id.project, entity.id.domain) == (id_.project, id_.domain)
            and id_.name in ("", entity.id.name)
        ]

    def GetTask(self, request: Any, context: Any) -> Any:
        return self._get(self.tasks, request.id, context)

    def GetWorkflow(self, request: Any, context: Any) -> Any:
        return self._get(self.workflows, request.id, context)

    def GetLaunchPlan(self, request: Any, context: Any) -> Any:
        return self._get(self.plans, request.id, context)

    def ListWorkflows(self, request: Any, context: Any) -> Any:
        found, token = page(self._list(self.workflows, request.id), request)
        return workflow_pb2.WorkflowList(workflows=found, token=token)

    def ListLaunchPlans(self, request: Any, context: Any) -> Any:
        found, token = page(self._list(self.plans, request.id), request)
        return launch_plan_pb2.LaunchPlanList(launch_plans=found, token=token)

    def ListActiveLaunchPlans(self, request: Any, context: Any) -> Any:
        where = identifier_pb2.Identifier(project=request.project, domain=request.domain)
        plans = [p for p in self._list(self.plans, where) if p.closure.state == ACTIVE]
        found, token = page(plans, request)
        return launch_plan_pb2.LaunchPlanList(launch_plans=found, token=token)

    def ListLaunchPlanIds(self, request: Any, context: Any) -> Any:
        where = identifier_pb2.Identifier(project=request.project, domain=request.domain)
        names = sorted({plan.id.name for plan in self._list(self.plans, where)})
        found, token = page(names, request)
        entities = [
            common_pb2.NamedEntityIdentifier(
                project=request.project, domain=request.domain, name=name
            )
            for name in found
        ]
        return common_pb2.NamedEntityIdentifierList(entities=entities, token=token)

    def GetActiveLaunchPlan(self, request: Any, context: Any) -> Any:
        for plan in self._list(self.plans, request.id):
            if plan.closure.state == ACTIVE:
                return plan
        return _refuse(context, grpc.StatusCode.NOT_FOUND, "no active launch plan")

    def UpdateLaunchPlan(self, request: Any, context: Any) -> Any:
        plan = self._get(self.plans, request.id, context)
        if request.state == ACTIVE:
            for other in self._list(self.plans, request.id):
                other.closure.state = INACTIVE
        plan.closure.state = request.state
        return launch_plan_pb2.LaunchPlanUpdateResponse()

    def UpdateNamedEntity(self, request: Any, context: Any) -> Any:
        self.entity_states[request.resource_type, request.id.name] = request.metadata.state
        return common_pb2.NamedEntityUpdateResponse()

    def ListNamedEntities(self, request: Any, context: Any) -> Any:
        where = identifier_pb2.Identifier(project=request.project, domain=request.domain)
        kind = request.resource_type
        table: dict[Key, Any] = {
            identifier_pb2.LAUNCH_PLAN: self.plans,
            identifier_pb2.WORKFLOW: self.workflows,
            identifier_pb2.TASK: self.tasks,
        }[kind]
        names = sorted({entity.id.name for entity in self._list(table, where)})
        found, token = page(names, request)
        entities = [
            common_pb2.NamedEntity(
                resource_type=kind,
                id=common_pb2.NamedEntityIdentifier(
                    project=request.project, domain=request.domain, name=name
                ),
                metadata=common_pb2.NamedEntityMetadata(
                    state=self.entity_states.get((kind, name), common_pb2.NAMED_ENTITY_ACTIVE)
                ),
            )
            for name in found
        ]
        return common_pb2.NamedEntityList(entities=entities, token=token)

    # Executions.

    def CreateExecution(self, request: Any, context: Any) -> Any:
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self._check_project(request.project, request.domain, context)
        if not _EXECUTION_NAME.fullmatch(request.name):
            _refuse(context, invalid, f"invalid name format: {request.name}")
        plan = self._get(self.plans, request.spec.launch_plan, context)
        expected, given = plan.closure.expected_inputs.parameters, request.inputs.literals
        for name in given:
            if name not in expected:
                _refuse(context, invalid, f"invalid input {name}")
            if name in plan.spec.fixed_inputs.literals:
                _refuse(context, invalid, f"fixed_inputs {name} cannot be overridden")
        for name, parameter in expected.items():
            if parameter.required and name not in given:
                _refuse(context, invalid, f"expected_inputs {name} missing")
        if request.name in self.executions:
            _refuse(context, grpc.StatusCode.ALREADY_EXISTS, f"{request.name} exists")

        created = execution_pb2.Execution(spec=request.spec)
        created.id.CopyFrom(self._execution_id(request))
        if not request.spec.labels.values:
            created.spec.labels.CopyFrom(plan.spec.labels)
        created.closure.phase = Phase.QUEUED
        created.closure.workflow_id.CopyFrom(plan.spec.workflow_id)
        created.closure.created_at.FromDatetime(self._now())
        created.closure.started_at.FromDatetime(self._now())
        created.closure.updated_at.FromDatetime(self._now())
        self.executions[request.name] = created
        self.scripts.setdefault(request.name, list(self.script))
        return execution_pb2.ExecutionCreateResponse(id=created.id)

    @staticmethod
    def _execution_id(request: Any) -> Any:
        return identifier_pb2.WorkflowExecutionIdentifier(
            project=request.project, domain=request.domain, name=request.name
        )

    def _execution(self, id_: Any, context: Any) -> Any:
        execution = self.executions.get(id_.name)
        if execution is None or execution.id != id_:
            _refuse(context, grpc.StatusCode.NOT_FOUND, f"missing execution {id_.name}")
        return execution

    def GetExecution(self, request: Any, context: Any) -> Any:
        """Each call moves the execution one step along its script."""
        execution = self._execution(request.id, context)
        if (
            script := self.scripts.get(request.id.name)
        ) and execution.closure.phase not in FINISHED:
            execution.closure.phase = script.pop(0)
            execution.closure.duration.FromSeconds(120)
            if execution.closure.phase == Phase.FAILED:
                execution.closure.error.message = "Traceback ...\nRuntimeError: loss is not finite"
        return execution

    def GetExecutionData(self, request: Any, context: Any) -> Any:
        self._execution(request.id, context)
        return execution_pb2.WorkflowExecutionGetDataResponse()

    def ListExecutions(self, request: Any, context: Any) -> Any:
        rows = [
            execution
            for execution in reversed(self.executions.values())
            if (execution.id.project, execution.id.domain)
            == (request.id.project, request.id.domain)
            and matches(
                request.filters,
                {
                    "phase": Phase.Phase.Name(execution.closure.phase),
                    "launch_plan.name": execution.spec.launch_plan.name,
                    "workflow.name": execution.closure.workflow_id.name,
                },
            )
        ]
        found, token = page(rows, request)
        return execution_pb2.ExecutionList(executions=found, token=token)

    def TerminateExecution(self, request: Any, context: Any) -> Any:
        execution = self._execution(request.id, context)
        execution.closure.phase = Phase.ABORTED
        execution.closure.abort_metadata.cause = request.cause
        return execution_pb2.ExecutionTerminateResponse()

    def ListNodeExecutions(self, request: Any, context: Any) -> Any:
        key = (request.workflow_execution_id.name, request.unique_parent_id)
        nodes = self.node_executions.get(key, [])  # without a parent: only the top level
        found, token = page(nodes, request)
        return node_execution_pb2.NodeExecutionList(node_executions=found, token=token)

    def ListTaskExecutions(self, request: Any, context: Any) -> Any:
        id_ = request.node_execution_id
        attempts = self.task_executions.get((id_.execution_id.name, id_.node_id), [])
        found, token = page(attempts, request)
        return task_execution_pb2.TaskExecutionList(task_executions=found, token=token)

"""An agent's tools: what is declared wrongly is refused by place, and commands become calls."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from training.alert_plans import plan_alert
from training.commands import parse_command
from training.function_calls import JSON, ToolCall
from training.runbook import parse_runbook, read_runbook
from training.tools import Toolbox
from training.tools_file import ToolsError, read_tools

_AGENTS = Path(__file__).parents[2] / "agents"
_NAMES = ["agent-sre", "agent-bruno", "agent-auditor"]


def _sre() -> Toolbox:
    return read_tools(_AGENTS / "agent-sre" / "tools.yaml")


def _call(toolbox: Toolbox, text: str) -> ToolCall | None:
    return toolbox.call_for(parse_command(text), alert="A", severity="warning")


def test_flux_commands_become_reconciliations() -> None:
    """Arguments come from flags and words wherever they stand; the namespace has its default."""
    call = _call(_sre(), "flux reconcile -n apps source git web --with-source")
    assert call == ToolCall(
        name="reconcile_flux_resource",
        arguments={
            "resource_type": "source git",
            "resource_name": "web",
            "namespace": "apps",
            "with_source": True,
        },
    )
    default = _call(_sre(), "flux reconcile kustomization apps")
    assert default is not None
    assert default.arguments["namespace"] == "flux-system"


def test_absent_fields_are_left_out() -> None:
    """A call has no empty arguments."""
    call = _call(_sre(), "kubectl get nodes")
    assert call is not None
    assert call.arguments == {"verb": "get", "resource": "node"}


@pytest.mark.parametrize(
    "text",
    [
        "kubectl delete pod web",
        "kubectl frobnicate",
        "flux reconcile frobnicator web",
        "kubectl get pods -o name | xargs kubectl describe; reboot",
        "curl http://think-api/healthz",
    ],
)
def test_what_no_rule_covers_gives_no_call(text: str) -> None:
    """Destructive, unknown and unmapped commands, and arguments against the schema."""
    assert _call(_sre(), text) is None


def test_digits_become_numbers_where_the_schema_says_so() -> None:
    """Flags are text; an integer argument is not."""
    toolbox = read_tools(_AGENTS / "agent-bruno" / "tools.yaml")
    call = _call(toolbox, "kubectl scale deploy/think-api --replicas=3")
    assert call is not None
    assert call.arguments["replicas"] == 3
    assert _call(toolbox, "kubectl scale deploy/think-api --replicas=90") is None


def test_calls_are_checked_against_their_schema() -> None:
    """Unknown tools, missing and unexpected arguments, wrong types and values."""
    toolbox = _sre()
    good = {"verb": "get"}
    assert not toolbox.errors(ToolCall(name="execute_kubectl_command", arguments=good))
    assert toolbox.errors(ToolCall(name="nothing"))
    wrong: list[dict[str, JSON]] = [{}, {"verb": "delete"}, {"verb": "get", "x": 1}]
    wrong.append({"verb": "get", "flags": 1})
    for arguments in wrong:
        assert toolbox.errors(ToolCall(name="execute_kubectl_command", arguments=arguments))


def test_declarations_tell_the_model_only_what_it_needs() -> None:
    """Keywords that only validate are not in the prompt."""
    for name in _NAMES:
        text = str(read_tools(_AGENTS / name / "tools.yaml").declarations())
        assert "additionalProperties" not in text
        assert "minimum" not in text
        assert "'type': 'object'" in text


@pytest.mark.parametrize("name", _NAMES)
def test_every_alert_of_our_agents_has_valid_calls(name: str) -> None:
    """Each shipped alert can be investigated, and resolved or handed on, by declared tools."""
    toolbox = read_tools(_AGENTS / name / "tools.yaml")
    plans = [plan_alert(a, toolbox) for a in read_runbook(_AGENTS / name / "RUNBOOK.md").alerts]
    for plan in plans:
        assert plan.investigate is not None, plan.alert.name
        for call in (plan.investigate, plan.resolve, *plan.alternatives):
            assert not toolbox.errors(call), (plan.alert.name, call)
        escalates = plan.resolve.name == toolbox.escalation.tool
        assert escalates == (plan.escalated_for is not None)
    assert any(plan.escalated_for for plan in plans)
    used = {c.name for p in plans for c in (p.investigate, p.resolve) if c}
    assert used == set(toolbox.tools), "a declared tool is never used"


def test_the_agents_differ_in_tools() -> None:
    """No tool is shared between two agents."""
    names = [name for a in _NAMES for name in read_tools(_AGENTS / a / "tools.yaml").tools]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("resolution", "reason"),
    [
        ("A person must look.", "no_safe_command"),
        ("```bash\nkubectl delete pod web\n```", "destructive_only"),
        ("```bash\nkubectl frobnicate\n```", "no_safe_command"),
    ],
)
def test_alerts_without_a_safe_remedy_go_to_a_person(resolution: str, reason: str) -> None:
    """The reason says whether there was nothing to do or nothing harmless."""
    text = f"### Alert: A\n\n**Severity:** critical\n\n**Resolution:**\n\n{resolution}\n"
    plan = plan_alert(parse_runbook(text).alerts[0], _sre())
    assert plan.escalated_for == reason
    assert plan.resolve.name == "escalate_to_human"
    assert plan.resolve.arguments["alert"] == "A"
    assert plan.resolve.arguments["severity"] == "critical"
    assert plan.investigate is None


def test_a_safe_command_after_a_destructive_one_is_chosen() -> None:
    """The first safe command of the resolution is the remedy; others are alternatives."""
    text = (
        "### Alert: A\n\n**Resolution:**\n\n```bash\nkubectl delete pod web\n"
        "kubectl rollout restart deploy/web\nkubectl cordon node-a\n```\n"
    )
    plan = plan_alert(parse_runbook(text).alerts[0], _sre())
    assert plan.resolve.arguments["verb"] == "rollout restart"
    assert [call.arguments["verb"] for call in plan.alternatives] == ["cordon"]
    assert len(plan.destructive) == 1


def _write(folder: Path, change: Any) -> Path:
    content = yaml.safe_load((_AGENTS / "agent-sre" / "tools.yaml").read_text())
    change(content)
    path = folder / "tools.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(toolz=[]), "toolz is unknown"),
        (lambda c: c.update(tools=[]), "tools is empty"),
        (lambda c: c.update(tools="x"), "tools must be a list"),
        (lambda c: c["tools"][0].update(name="Reconcile Flux"), r"tools\[0\].name .* snake case"),
        (lambda c: c["tools"][1].update(name="escalate_to_human"), "declared twice"),
        (lambda c: c["tools"][0].update(description=""), "write a text"),
        (lambda c: c["tools"][0].update(parameters={"type": "objekt"}), "no JSON schema"),
        (lambda c: c["tools"][0].update(parameters={"type": "array"}), "type: object"),
        (lambda c: c["tools"][0]["parameters"]["required"].append("x"), "without declaring"),
        (lambda c: c["rules"][0].update(tool="x"), r"rules\[0\].tool 'x' is not declared"),
        (lambda c: c["rules"][0].update(when={}), r"rules\[0\].when is empty"),
        (lambda c: c["rules"][0]["arguments"].update(x="y"), "does not take"),
        (lambda c: c["rules"][0]["when"].update(verbs="x"), "refers to 'verbs'"),
        (lambda c: c["rules"][0]["arguments"].update(namespace="{ns}"), "refers to 'ns'"),
        (lambda c: c["rules"][0]["arguments"].pop("resource_name"), "requires"),
        (lambda c: c["escalation"].update(tool="x"), "escalation.tool 'x'"),
        (lambda c: c["escalation"]["reasons"].pop("unknown_alert"), "lacks a text"),
        (lambda c: c["replies"].pop("decline"), "replies lacks 'decline'"),
        (lambda c: c["requests"].update(sing=["x"]), "requests.sing is no reply"),
        (lambda c: c["requests"].update(clarify=[1]), "must be a list of texts"),
        (lambda c: c["requests"].update(clarify=["Is {it?"]), "has braces without a choice in 'Is"),
    ],
)
def test_wrong_declarations_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """The error is one line that names the file and the place."""
    with pytest.raises(ToolsError, match=message) as caught:
        read_tools(_write(tmp_path, change))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\na: 2\n", "tools.yaml:2: is not valid YAML: the key 'a' is written twice"),
        ("a: [1\n", "is not valid YAML"),
        ("- 1\n", "must be a mapping"),
    ],
)
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """Broken YAML and repeated keys are named by line."""
    (tmp_path / "tools.yaml").write_text(content)
    with pytest.raises(ToolsError, match=message):
        read_tools(tmp_path / "tools.yaml")
    with pytest.raises(ToolsError, match="there is no such file"):
        read_tools(tmp_path / "none.yaml")

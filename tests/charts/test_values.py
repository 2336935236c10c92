"""Which values are taken, which are refused and in what words, and what the README says of them."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from rendering import CHART, ROOT, script

Helm = Callable[..., subprocess.CompletedProcess[str]]

REFUSED = {
    "mlflow.replica=2": "additional properties 'replica' not allowed",
    "mlflow.replicas=2": "cannot share one SQLite file",
    "mlflow.replicas=0": "/mlflow/replicas",
    "mlflow.image.tag=latest": "mlflow.image.tag: latest is another image tomorrow",
    "mlflow.image.digest=sha256:12": "/mlflow/image/digest",
    "mlflow.allowedHosts={*}": "mlflow.allowedHosts: * switches off",
    "mlflow.database.kind=mysql": "/mlflow/database/kind",
    "mlflow.database.kind=postgres": "mlflow.database.existingSecret",
    "mlflow.ingress.enabled=true": "mlflow.ingress.host",
    "mlflow.external.trackingUri=https://user:word@mlflow.example.org": "/external/trackingUri",
    "mlflow.enabled=false": "mlflow.external.trackingUri",
    "s3.image.tag=": "s3.image.tag: name a version or a digest",
    "s3.enabled=false": "s3.external.endpoint",
    "s3.external.endpoint=s3.example.org": "/s3/external/endpoint",
    "s3.bucket=Upper": "/s3/bucket",
    "s3.existingSecret=": "/s3/existingSecret",
    "s3.persistence.size=50": "got number, want string",
    "s3.resources.limits.memory=2000": "/s3/resources/limits/memory",
    "git.repository=https://user:token@git.example.org/agents.git": "/git/repository",
    "git.repository=http://git.example.org/agents.git": "/git/repository",
    "git.repository=/srv/agents.git": "/git/repository",
    "quotas.general.gpus=two": "got string, want integer",
    "quotas.background.gpus=3": "more than the 2 of quotas.general.gpus",
    "priorityClasses.background=500": "urgent must be greater than normal",
    "priorityClasses.create=false,priorityClasses.byLabel=true": "set priorityClasses.create=true",
    "kueue.enabled=true": "set quotas.enabled=false",
    "tasks.podTemplate.runAsUser=0": "/tasks/podTemplate/runAsUser",
    "tasks.podTemplate.priorityClassName=high": "/tasks/podTemplate/priorityClassName",
    "backup.keep=0": "/backup/keep",
    "backup.schedule=daily": "/backup/schedule",
    "networkPolicy.external[0].cidr=host,networkPolicy.external[0].port=1": "/cidr",
    "namespace.podSecurity=none": "/namespace/podSecurity",
    "monitoring.exporter.windowDays=1": "/monitoring/exporter/windowDays",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_a_wrong_value_is_refused_by_name(helm: Helm, expression: str) -> None:
    """Helm stops before anything is installed, and the message names the value."""
    done = helm("template", "oppen", str(CHART), "--set", expression)
    assert done.returncode != 0
    assert REFUSED[expression] in done.stderr


@pytest.mark.parametrize("verb", ["create", "*"])
def test_a_task_gets_no_right_to_write(helm: Helm, verb: str) -> None:
    """Rules for the tasks' account are for reading, and never for secrets or everything."""
    rule = "tasks.serviceAccount.rules[0]"
    base = f"{rule}.apiGroups={{}},{rule}.resources={{pods}}"
    assert helm(
        "template", "oppen", str(CHART), "--set", f"{base},{rule}.verbs={{{verb}}}"
    ).returncode
    for resource in ("secrets", "*"):
        expression = f"{rule}.apiGroups={{}},{rule}.resources={{{resource}}},{rule}.verbs={{get}}"
        done = helm("template", "oppen", str(CHART), "--set", expression)
        assert "no wildcard and no secrets" in done.stderr


def test_the_release_does_not_live_in_the_namespace_it_creates(helm: Helm) -> None:
    """Helm would fail half-way on it; the chart says so before."""
    done = helm("template", "oppen", str(CHART), "--namespace", "ml-training")
    assert "install with -n oppen-system" in done.stderr


@pytest.mark.parametrize("file", ["values.yaml", "values-kind.yaml", "values-production.yaml"])
def test_values_files_pass_a_strict_lint(helm: Helm, file: str) -> None:
    """`helm lint --strict` has nothing to say about any values file."""
    done = helm("lint", "--strict", str(CHART), "--values", str(CHART / file))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_readme_lists_every_value_with_its_default() -> None:
    """The table of the README is what the comments of values.yaml give."""
    readme = script(ROOT / "charts" / "readme.py")
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert readme.renew(text, (CHART / "values.yaml").read_text(encoding="utf-8")) == text
    assert readme.main(["--check"]) == 0


def test_every_value_has_a_comment() -> None:
    """A leaf of values.yaml is documented itself or through the mapping it is in."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    known = {path for path, _ in script(ROOT / "charts" / "readme.py").documented(text)}

    def bare(node: Any, path: str) -> list[str]:
        if path in known:
            return []
        if isinstance(node, dict) and node:
            return [leaf for key in node for leaf in bare(node[key], f"{path}.{key}".lstrip("."))]
        return [path]

    assert bare(yaml.safe_load(text), "") == []


def test_the_schema_knows_every_value() -> None:
    """Each key of values.yaml is in the schema, so that a wrong type of it is refused."""
    import json

    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def unknown(node: Any, part: dict[str, Any], path: str) -> list[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].split("/")[-1]]
        if not isinstance(node, dict) or "properties" not in part:
            return []
        missing = [f"{path}.{key}" for key in node if key not in part["properties"]]
        inner = [
            name
            for key in node
            if key in part["properties"]
            for name in unknown(node[key], part["properties"][key], f"{path}.{key}")
        ]
        return missing + inner

    assert unknown(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "") == []

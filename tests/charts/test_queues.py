"""Kueue's objects: the same quotas as queues, by the fields that its API has."""

from rendering import COMBINATIONS, Object, Render, find


def queues(template: Render) -> list[Object]:
    """All objects of Kueue."""
    return [one for one in template(*COMBINATIONS["kueue"]) if "kueue" in one["apiVersion"]]


def test_objects_are_of_the_version_that_is_served(template: Render) -> None:
    """Kueue 0.20 serves v1beta2 only; it came with 0.15."""
    assert {one["apiVersion"] for one in queues(template)} == {"kueue.x-k8s.io/v1beta2"}
    assert not [one for one in template() if "kueue" in one["apiVersion"]]


def quotas(queue: Object) -> dict[str, dict[str, object]]:
    """Quotas of a ClusterQueue by resource."""
    (group,) = queue["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    found = {
        one["name"]: {k: v for k, v in one.items() if k != "name"} for one in flavor["resources"]
    }
    assert list(found) == group["coveredResources"]
    return found


def test_the_general_queue_owns_the_quota(template: Render) -> None:
    """2 GPUs, 16 cores, 32 GiB, as the ResourceQuota would hold."""
    assert quotas(find(queues(template), "ClusterQueue", "oppen-general")) == {
        "cpu": {"nominalQuota": 16},
        "memory": {"nominalQuota": "32Gi"},
        "nvidia.com/gpu": {"nominalQuota": 2},
    }


def test_the_background_borrows_and_gives_back(template: Render) -> None:
    """It owns nothing, borrows at most 1 GPU and 4 GiB, and the general queue reclaims them."""
    objects = queues(template)
    general = find(objects, "ClusterQueue", "oppen-general")
    background = find(objects, "ClusterQueue", "oppen-background")
    assert quotas(background) == {
        "cpu": {"nominalQuota": 0, "borrowingLimit": 16},
        "memory": {"nominalQuota": 0, "borrowingLimit": "4Gi"},
        "nvidia.com/gpu": {"nominalQuota": 0, "borrowingLimit": 1},
    }
    assert general["spec"]["cohortName"] == background["spec"]["cohortName"]
    assert general["spec"]["preemption"]["reclaimWithinCohort"] == "Any"
    assert background["spec"]["preemption"] == {
        "reclaimWithinCohort": "Never",
        "withinClusterQueue": "Never",
    }


def test_queues_hang_together(template: Render) -> None:
    """Local queues lead to cluster queues, those to the flavor, and only from our namespace."""
    objects = queues(template)
    flavor = find(objects, "ResourceFlavor")["metadata"]["name"]
    clusters = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ClusterQueue"}
    for queue in clusters.values():
        assert queue["spec"]["resourceGroups"][0]["flavors"][0]["name"] == flavor
        selector = queue["spec"]["namespaceSelector"]["matchLabels"]
        assert selector == {"kubernetes.io/metadata.name": "ml-training"}
    local = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "LocalQueue"}
    assert {name: spec["clusterQueue"] for name, spec in local.items()} == {
        "general": "oppen-general",
        "background": "oppen-background",
    }


def test_priorities_are_the_same_in_both_worlds(template: Render) -> None:
    """WorkloadPriorityClasses order jobs as the PriorityClasses order pods."""
    objects = template(*COMBINATIONS["kueue"])

    def values(kind: str) -> dict[str, int]:
        return {o["metadata"]["name"]: o["value"] for o in objects if o["kind"] == kind}

    assert values("WorkloadPriorityClass") == values("PriorityClass") != {}

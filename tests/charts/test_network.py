"""Who may speak to whom: everything is denied, and each part reaches what it needs."""

from typing import Any

from rendering import COMBINATIONS, Object, Render, find, pods

TASK = {
    "app.kubernetes.io/name": "oppen",
    "app.kubernetes.io/instance": "oppen",
    "app.kubernetes.io/component": "task",
}


def policies(objects: list[Object], labels: dict[str, str]) -> list[Object]:
    """The policies that select a pod with these labels."""
    return [
        one["spec"]
        for one in objects
        if one["kind"] == "NetworkPolicy" and matches(one["spec"]["podSelector"], labels)
    ]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector holds for labels."""
    equal = selector.get("matchLabels", {}).items()
    among = selector.get("matchExpressions", [])
    return equal <= labels.items() and all(labels.get(e["key"]) in e["values"] for e in among)


def reaches(
    objects: list[Object], source: dict[str, str], target: dict[str, str], port: object
) -> bool:
    """Whether a pod may open a connection to another pod's port, by both pods' policies."""

    def allowed(side: str, peers: str, mine: dict[str, str], other: dict[str, str]) -> bool:
        held = [one for one in policies(objects, mine) if side.title() in one["policyTypes"]]
        return not held or any(
            any(
                "podSelector" in peer and matches(peer["podSelector"], other)
                for peer in rule[peers]
            )
            and ("ports" not in rule or port in names(objects, target, rule["ports"]))
            for one in held
            for rule in one.get(side, [])
        )

    return allowed("egress", "to", source, target) and allowed("ingress", "from", target, source)


def names(objects: list[Object], target: dict[str, str], ports: list[Object]) -> set[object]:
    """Numbers of the ports of a rule, with names looked up in the target's pod."""
    known = {
        port["name"]: port["containerPort"]
        for _, pod in pods(objects)
        if target.items() <= pod["metadata"]["labels"].items()
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    }
    return {known.get(one["port"], one["port"]) for one in ports}


def part(component: str) -> dict[str, str]:
    """Labels of a component's pods."""
    return {**TASK, "app.kubernetes.io/component": component}


def test_parts_reach_what_they_need_and_nothing_else(template: Render) -> None:
    """The whole matrix of connections inside the namespace."""
    objects = template(*COMBINATIONS["monitoring"])
    ports = {"mlflow": 5000, "s3": 8333, "task": 29500, "exporter": 9464, "backup": 1, "buckets": 1}
    open_ = {
        (source, target)
        for source in ports
        for target, port in ports.items()
        if reaches(objects, part(source), part(target), port)
    }
    assert open_ == {
        ("mlflow", "s3"),
        ("task", "mlflow"),
        ("task", "s3"),
        ("task", "task"),
        ("exporter", "mlflow"),
        ("backup", "s3"),
        ("buckets", "s3"),
    }


def test_only_s3_itself_is_reachable_on_its_pod(template: Render) -> None:
    """Neither tasks nor others reach a port of SeaweedFS that asks for no login."""
    objects = template()
    for port in (8888, 9333, 8080, 18333, 9327):
        assert not reaches(objects, part("task"), part("s3"), port)


def test_a_stranger_in_the_namespace_is_alone(template: Render) -> None:
    """A pod without our labels reaches names and nothing else."""
    objects = template()
    stranger = {"app": "stranger"}
    for target, port in (("mlflow", 5000), ("s3", 8333), ("task", 29500)):
        assert not reaches(objects, stranger, part(target), port)
    (default,) = policies(objects, stranger)
    assert {one["port"] for rule in default["egress"] for one in rule["ports"]} == {53}


def test_tasks_reach_the_internet_but_no_private_address(template: Render) -> None:
    """Port 443 is open to the world except private ranges and a cloud's metadata address."""
    (rule,) = internet(template())
    assert rule["ports"] == [{"port": 443}]
    assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"]
    assert internet(template(sets=["networkPolicy.tasksInternet=false"])) == []


def internet(objects: list[Object]) -> list[Object]:
    """Rules of the tasks that lead out of the cluster."""
    rules = find(objects, "NetworkPolicy", "oppen-tasks")["spec"]["egress"]
    return [rule for rule in rules if any("ipBlock" in peer for peer in rule["to"])]


def test_flyte_reaches_s3(template: Render) -> None:
    """The namespace of Flyte is let in to S3, where it keeps its inputs and outputs."""
    rules = find(template(), "NetworkPolicy", "oppen-s3")["spec"]["ingress"]
    flyte = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "flyte"}}}
    assert any(flyte in rule["from"] for rule in rules)


def test_every_pod_is_under_a_policy_of_its_own(template: Render) -> None:
    """No part is left with the bare default, which would cut it off."""
    objects = template(*COMBINATIONS["everything"])
    for name, pod in pods(objects):
        assert len(policies(objects, pod["metadata"]["labels"])) >= 2, name

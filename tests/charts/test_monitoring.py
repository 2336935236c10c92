"""Alerts and dashboard: they ask for metrics that exist, under names that exist."""

import json
import re
from collections.abc import Iterator

from rendering import CHART, COMBINATIONS, Render, find, script

OTHERS = {
    "kube_pod_status_phase",
    "kube_resourcequota",
    "kube_deployment_status_replicas_available",
    "kube_cronjob_status_last_successful_time",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "SeaweedFS_s3_request_total",
}
"""Metrics of kube-state-metrics, the kubelet and SeaweedFS (test_servers sees the last)."""

WORDS = {"sum", "max", "min", "by", "rate", "time", "or", "and", "label_values"}


def metrics(expression: str) -> set[str]:
    """Names of the metrics in a PromQL expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", expression)
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]{2,}", bare)) - WORDS


def dashboard_expressions() -> Iterator[str]:
    """Every query of the dashboard."""
    board = json.loads((CHART / "dashboards" / "oppen.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"].replace(", ", "} {")


def test_every_metric_exists() -> None:
    """The dashboard asks only for metrics of our exporter or of well-known ones."""
    ours = set(script(CHART / "files" / "exporter.py").TYPES)
    asked = {name for one in dashboard_expressions() for name in metrics(one)}
    assert {n for n in asked if n not in ours | OTHERS} <= {"experiment", "model"}
    assert {
        "oppen_runs",
        "oppen_run_duration_seconds",
        "oppen_cost",
        "oppen_model_quality",
    } <= asked


def test_every_alert_asks_for_metrics_that_exist(template: Render) -> None:
    """No alert waits for a metric that nobody serves, and each says what is wrong and how bad."""
    ours = set(script(CHART / "files" / "exporter.py").TYPES)
    (group,) = find(template(*COMBINATIONS["monitoring"]), "PrometheusRule")["spec"]["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) == 7
    for rule in group["rules"]:
        assert metrics(rule["expr"]) <= ours | OTHERS, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


def test_alerts_name_the_objects_of_the_release(template: Render) -> None:
    """The names in the alerts are those of rendered objects."""
    objects = template(*COMBINATIONS["monitoring"])
    text = json.dumps(find(objects, "PrometheusRule")["spec"])
    assert find(objects, "CronJob")["metadata"]["name"] in text
    assert 'namespace=\\"ml-training\\"' in text


def test_scrapes_reach_services(template: Render) -> None:
    """Each ServiceMonitor selects one rendered Service, and Prometheus is let in to its port."""
    objects = template(*COMBINATIONS["monitoring"])
    services = [one for one in objects if one["kind"] == "Service"]
    monitors = [one for one in objects if one["kind"] == "ServiceMonitor"]
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [s for s in services if wanted.items() <= s["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {e["port"] for e in monitor["spec"]["endpoints"]} <= ports
        component = wanted["app.kubernetes.io/component"]
        policy = find(objects, "NetworkPolicy", f"oppen-{component}")
        assert "monitoring" in json.dumps(policy["spec"]["ingress"])


def test_the_dashboard_reaches_the_sidecar_whole(template: Render) -> None:
    """The ConfigMap holds the file as it is, under the label that Grafana's sidecar looks for."""
    config = find(template(*COMBINATIONS["monitoring"]), "ConfigMap", "oppen-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    file = (CHART / "dashboards" / "oppen.json").read_text(encoding="utf-8")
    assert json.loads(config["data"]["oppen.json"]) == json.loads(file)


def test_panels_do_not_overlap() -> None:
    """Every cell of the dashboard's grid belongs to one panel at most."""
    board = json.loads((CHART / "dashboards" / "oppen.json").read_text(encoding="utf-8"))
    cells: list[tuple[int, int]] = []
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells += [
            (grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])
        ]
    assert len(cells) == len(set(cells))

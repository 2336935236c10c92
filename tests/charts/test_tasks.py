# ruff: noqa: S108 - the paths are those of a container
"""What a task's pod gets: settings, rate card, scratch space, and the servers it is told of."""

from pathlib import Path

import pytest
import yaml
from rendering import COMBINATIONS, ROOT, Object, Render, containers, find, pods

from accounting.ratecard import parse_card
from accounting.rates import RateCard


def rates(objects: list[Object]) -> RateCard:
    """The rate card as a task reads it from its mount."""
    text = find(objects, "ConfigMap", "oppen-rates")["data"]["rates.yaml"]
    return parse_card(text, name="cluster", file="rates.yaml")


def test_the_default_rate_card_is_the_projects_own(template: Render) -> None:
    """The ConfigMap holds accounting/rates.yaml to the letter, and the accounting reads it."""
    own = (ROOT / "accounting" / "rates.yaml").read_text(encoding="utf-8")
    assert find(template(), "ConfigMap", "oppen-rates")["data"]["rates.yaml"].strip() == own.strip()
    card = rates(template())
    assert card == parse_card(own, name="cluster", file="rates.yaml")


def test_another_rate_card_replaces_it(helm: object, tmp_path: Path) -> None:
    """`--set-file rateCard.text=...` mounts a card of one's own, comments and dates unharmed."""
    from rendering import CHART

    own = (ROOT / "accounting" / "rates.yaml").read_text(encoding="utf-8")
    file = tmp_path / "rates.yaml"
    file.write_text("# Ours\n" + own.replace("price: 0.25", "price: 0.40"), encoding="utf-8")
    done = helm("template", "oppen", str(CHART), "--set-file", f"rateCard.text={file}")  # type: ignore[operator]
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert find(objects, "ConfigMap", "oppen-rates")["data"]["rates.yaml"] == file.read_text()
    assert rates(objects) != parse_card(own, name="cluster", file="rates.yaml")


def test_an_existing_rate_card_is_mounted(template: Render) -> None:
    """A ConfigMap that is made elsewhere takes the place of the chart's."""
    objects = template(sets=["rateCard.existingConfigMap=ours"])
    assert not [o for o in objects if o["metadata"]["name"] == "oppen-rates"]
    volumes = find(objects, "PodTemplate")["template"]["spec"]["volumes"]
    assert {"name": "rates", "configMap": {"name": "ours"}} in volumes


def test_settings_name_servers_that_are_there(template: Render) -> None:
    """The addresses of the settings are those of rendered Services and their ports."""
    objects = template()
    data = find(objects, "ConfigMap", "oppen-settings")["data"]
    assert data["MLFLOW_TRACKING_URI"] == "http://oppen-mlflow.ml-training.svc:5000"
    assert data["OPPEN_S3_ENDPOINT"] == "http://oppen-s3.ml-training.svc:8333"
    assert data["FLYTE_AWS_ENDPOINT"] == data["OPPEN_S3_ENDPOINT"]
    for name, port in (("oppen-mlflow", 5000), ("oppen-s3", 8333)):
        service = find(objects, "Service", name)
        assert port in [one["port"] for one in service["spec"]["ports"]]
        pod = find(objects, "Deployment", name)["spec"]["template"]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        named = {p["name"]: p["containerPort"] for c in containers(pod) for p in c.get("ports", [])}
        for one in service["spec"]["ports"]:
            assert named[one["targetPort"]] == one["port"]


def test_settings_follow_external_servers(template: Render) -> None:
    """With a server elsewhere the settings name it, and no Service of ours remains."""
    objects = template(
        sets=[
            "s3.enabled=false",
            "s3.external.endpoint=https://s3.example.org",
            "mlflow.enabled=false",
            "mlflow.external.trackingUri=https://mlflow.example.org",
        ]
    )
    data = find(objects, "ConfigMap", "oppen-settings")["data"]
    assert data["OPPEN_S3_ENDPOINT"] == "https://s3.example.org"
    assert data["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org"
    assert not [o for o in objects if o["kind"] in {"Service", "Deployment", "CronJob"}]


def test_settings_are_read_by_the_code(template: Render) -> None:
    """The typed settings accept what a task finds in its environment on the cluster."""
    settings = pytest.importorskip("stores.settings")
    data = find(template(), "ConfigMap", "oppen-settings")["data"]
    login = {"AWS_ACCESS_KEY_ID": "a" * 20, "AWS_SECRET_ACCESS_KEY": "s" * 40}
    read = settings.Settings.from_environment({**data, **login})
    assert read.mlflow_tracking_uri == data["MLFLOW_TRACKING_URI"]
    assert read.s3_bucket == data["OPPEN_S3_BUCKET"]


def logins(container: Object) -> dict[str, tuple[str, str]]:
    """Variables of a container that come from a Secret: its name and key by variable."""
    references = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container["env"]
        if "secretKeyRef" in one.get("valueFrom", {})
    }
    return {name: (one["name"], one["key"]) for name, one in references.items()}


def test_every_task_gets_its_logins_by_reference(template: Render) -> None:
    """Each setting that is secret comes from the named Secret, and none from a ConfigMap."""
    settings = pytest.importorskip("stores.settings")
    objects = template(sets=["s3.existingSecret=elsewhere"])
    (container,) = containers(find(objects, "PodTemplate")["template"])
    assert logins(container) == {
        name: ("elsewhere", name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    secret = {settings._VARIABLES[name] for name in settings._SECRET}
    # The address of the repository is no secret here: the schema refuses one with a login in it.
    assert secret - {"OPPEN_GIT_REPOSITORY"} == set(logins(container))
    for one in objects:
        assert not secret & set(one.get("data", {})), one["metadata"]["name"]


def test_an_external_mlflow_gets_its_login_by_reference(template: Render) -> None:
    """Tasks and exporter take user and password, or a token, from the Secret that is named."""
    expected = {
        f"MLFLOW_TRACKING_{name}": ("tracking", f"MLFLOW_TRACKING_{name}")
        for name in ("USERNAME", "PASSWORD", "TOKEN")
    }
    asking = {
        name: pod for name, pod in pods(template(*COMBINATIONS["external"])) if "Job" not in name
    }
    assert set(asking) == {"PodTemplate/oppen-task", "Deployment/oppen-exporter"}
    for pod in asking.values():
        (container,) = containers(pod)
        assert expected.items() <= logins(container).items()
    (container,) = containers(find(template(), "PodTemplate")["template"])
    assert not expected.keys() & logins(container).keys()


def test_every_task_can_write_only_to_scratch(template: Render) -> None:
    """/tmp and /work are scratch, the home folder lies in one, and the card is read-only."""
    spec = find(template(), "PodTemplate")["template"]["spec"]
    container = spec["containers"][0]
    assert container["name"] == "default"
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert set(mounts) == {"/tmp", "/work", "/etc/oppen"}
    assert mounts["/etc/oppen"]["readOnly"] is True
    home = next(one["value"] for one in container["env"] if one["name"] == "HOME")
    assert home.startswith("/tmp/")


def test_tasks_have_no_rights_by_default(template: Render) -> None:
    """The tasks' account has no Role and no token; rules make a Role for the namespace alone."""
    kinds = {one["kind"] for one in template()}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    rule = "tasks.serviceAccount.rules[0]"
    sets = [f"{rule}.apiGroups={{}}", f"{rule}.resources={{pods}}", f"{rule}.verbs={{get}}"]
    objects = template(sets=sets)
    assert find(objects, "Role")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    ]
    assert find(objects, "RoleBinding")["subjects"][0]["name"] == "oppen-task"


def test_mlflow_lets_in_the_names_it_is_called_by(template: Render) -> None:
    """The server's check of the Host header passes the Service's names and no others."""
    security = pytest.importorskip("mlflow.server.security_utils")
    sets = ["mlflow.ingress.enabled=true", "mlflow.ingress.host=mlflow.example.org"]
    server = find(template(sets=sets), "Deployment", "oppen-mlflow")["spec"]["template"]["spec"]
    option = next(a for a in server["containers"][0]["args"] if a.startswith("--allowed-hosts="))
    allowed = option.removeprefix("--allowed-hosts=").split(",")
    for host in (
        "oppen-mlflow:5000",
        "oppen-mlflow.ml-training.svc:5000",
        "oppen-mlflow.ml-training.svc.cluster.local:5000",
        "localhost:5000",
        "mlflow.example.org",
    ):
        assert security.is_allowed_host_header(allowed, host), host
    for host in ("evil.example.org", "oppen-mlflow-evil.example.org", "10.0.0.1:5000"):
        assert not security.is_allowed_host_header(allowed, host), host

"""What the guides tell a reader to type and apply: valid manifests, real names, real options."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from rendering import ROOT, Object, Render, containers, find, pods

from operations.cli import app

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
KIND = ROOT / "charts" / "kind"


def fences(path: Path, language: str) -> list[str]:
    """Blocks of a language in a document."""
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    return [t.content for t in tokens if t.type == "fence" and t.info.strip() == language]


def code(path: Path) -> Iterator[str]:
    """Everything that a document shows as code, blocks and words."""
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        if token.type == "fence":
            yield token.content.replace("\\\n", " ")
        for child in token.children or []:
            if child.type == "code_inline":
                yield child.content


def test_all_guides_are_there() -> None:
    """One for each step of a user's way."""
    assert [path.stem for path in GUIDES] == [
        "backup-restore",
        "gpu-nodes",
        "laptop-to-production",
        "mlx-apple-silicon",
        "security",
        "spot-nodes",
        "troubleshooting",
        "upgrading",
    ]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_what_was_never_run_is_said(path: Path) -> None:
    """Each guide says which part of it the project has never tried."""
    text = path.read_text(encoding="utf-8").lower()
    assert "never" in text or path.stem == "security"


UNTRIED = {
    "README.md": ("cluster", "GPU", "Apple silicon", "Docker", "GitHub", "ollama"),
    "docs/guides/laptop-to-production.md": ("cluster", "Docker", "Postgres", "GitHub"),
    "docs/guides/backup-restore.md": ("cluster", "Postgres", "by hand"),
    "docs/guides/upgrading.md": ("cluster", "Postgres"),
    "docs/guides/mlx-apple-silicon.md": ("Ollama",),
    "docs/guides/gpu-nodes.md": ("GPU",),
}
"""What a document must own up to, in a paragraph or point that says never or ever."""


@pytest.mark.parametrize("name", UNTRIED)
def test_what_was_never_tried_is_named(name: str) -> None:
    """Nobody reads of an untried part without being told, wherever it is explained."""
    text = (ROOT / name).read_text(encoding="utf-8")
    parts = re.split(r"\n\n|\n(?=- )", text)
    told = " ".join(part for part in parts if re.search(r"\bn?ever\b", part, re.IGNORECASE))
    assert [word for word in UNTRIED[name] if word not in told] == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_shell_blocks_are_shell(path: Path) -> None:
    """Bash can read every block that a reader may paste."""
    for block in fences(path, "bash"):
        done = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_options_of_oppen_exist(path: Path) -> None:
    """Every command and option of `oppen` that a guide shows is one that there is."""
    root: Any = typer.main.get_command(app)
    for text in code(path):
        for line in text.splitlines():
            if not (match := re.match(r"(?:\.venv/bin/)?oppen ([a-z]+[^|;&#]*)", line)):
                continue
            first, *rest = match[1].split()
            command = root.commands[first]
            if rest and hasattr(command, "commands"):
                command = command.commands[rest[0]]
            known = {
                name
                for parameter in command.params
                for name in [*parameter.opts, *parameter.secondary_opts]
            }
            assert {word for word in rest if word.startswith("--")} <= known, line


def restore_job() -> Object:
    """The Job that the guide on restoring has the reader apply."""
    (text,) = fences(ROOT / "docs" / "guides" / "backup-restore.md", "yaml")
    loaded: Object = yaml.safe_load(text)
    return loaded


def test_the_restore_job_fits_the_chart(template: Render) -> None:
    """It is valid, mounts what the chart made, and the network policy of backups is its own."""
    job = restore_job()
    kubernetes_validate.validate(job, "1.37", strict=True)
    objects = template()
    spec = job["spec"]["template"]["spec"]
    backup = pods([find(objects, "CronJob")])[0][1]
    claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [
        v["persistentVolumeClaim"]
        for v in backup["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    ]
    configs = {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v}
    configs |= {e["configMapRef"]["name"] for e in spec["containers"][0]["envFrom"]}
    known = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
    assert configs <= known
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels.items() <= backup["metadata"]["labels"].items()
    assert spec["securityContext"]["runAsUser"] == backup["spec"]["securityContext"]["runAsUser"]
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_database_for_kind_is_the_one_that_flyte_asks_for() -> None:
    """Name, user and database agree with Flyte's values; it is valid and runs without root."""
    objects = list(yaml.safe_load_all((KIND / "postgres.yaml").read_text(encoding="utf-8")))
    for one in objects:
        kubernetes_validate.validate(one, "1.37", strict=True)
    values = yaml.safe_load((ROOT / "charts" / "flyte-values.yaml").read_text(encoding="utf-8"))
    database = values["configuration"]["database"]
    metadata = find(objects, "Service")["metadata"]
    assert database["host"] == f"{metadata['name']}.{metadata['namespace']}.svc"
    ((_, pod),) = pods(objects)
    (container,) = containers(pod)
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert (given["POSTGRES_USER"], given["POSTGRES_DB"]) == (
        database["username"],
        database["dbname"],
    )
    assert given["POSTGRES_PASSWORD"] is None
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_node_labels_of_the_guides_are_those_of_flyte() -> None:
    """The keys by which a node is marked are the ones that Flyte selects by."""
    values = yaml.safe_load((ROOT / "charts" / "flyte-values.yaml").read_text(encoding="utf-8"))
    k8s = values["configuration"]["inline"]["plugins"]["k8s"]
    spot = (ROOT / "docs" / "guides" / "spot-nodes.md").read_text(encoding="utf-8")
    assert f"{k8s['interruptible-tolerations'][0]['key']}=true:NoSchedule" in spot
    gpu = (ROOT / "docs" / "guides" / "gpu-nodes.md").read_text(encoding="utf-8")
    assert f"{k8s['gpu-device-node-label']}=nvidia-tesla-t4" in gpu
    cluster = yaml.safe_load((KIND / "cluster.yaml").read_text(encoding="utf-8"))
    assert k8s["gpu-device-node-label"] in cluster["nodes"][1]["labels"]

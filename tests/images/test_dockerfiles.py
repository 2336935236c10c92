"""The Dockerfiles by hadolint and by rules of our own: pinned, without root, without secrets."""

import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = {role: ROOT / "images" / f"{role}.Dockerfile" for role in ("tasks", "training")}


@pytest.fixture(params=list(DOCKERFILES))
def role(request: pytest.FixtureRequest) -> str:
    """Each role in turn."""
    name: str = request.param
    return name


def instructions(role: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile, continued lines joined, comments left out."""
    text = DOCKERFILES[role].read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def values(role: str, name: str) -> list[str]:
    """Arguments of all instructions of one name."""
    return [rest for instruction, rest in instructions(role) if instruction == name]


def test_hadolint_has_nothing_to_say(role: str, tools: ModuleType) -> None:
    """The real hadolint, at its strictest."""
    done = subprocess.run(
        [tools.hadolint(), "--failure-threshold", "style", DOCKERFILES[role]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_base_is_pinned_by_digest(role: str) -> None:
    """Every stage comes from one base, named by digest, of the Python that the project asks for."""
    (base,) = [one for one in values(role, "ARG") if one.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=\S+/python:3\.11-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert values(role, "FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


def test_it_runs_without_root_and_in_writable_folders(role: str) -> None:
    """The user is that of the chart's pods, the working folder one that the chart mounts."""
    assert values(role, "USER") == ["65532:65532"]
    assert values(role, "WORKDIR") == ["/src", "/work"]
    chart = (ROOT / "charts" / "oppen" / "values.yaml").read_text()
    assert "runAsUser: 65532" in chart
    assert values(role, "ENTRYPOINT") == []


def test_packages_come_from_the_lock_file(role: str) -> None:
    """Every pip call that resolves is held to the lock; the code is installed without."""
    parts = re.split(r"&&|;;", " && ".join(values(role, "RUN")))
    calls = [part for part in parts if re.search(r"-m pip .*(install|wheel) ", part)]
    assert len(calls) == {"tasks": 4, "training": 5}[role]
    for call in calls:
        assert "--constraint requirements.lock" in call or "--no-deps" in call, call
    assert f"roles.py requirements {role}" in " ".join(values(role, "RUN"))


def test_nothing_secret_goes_in(role: str) -> None:
    """No build argument or variable is a credential; what reaches the builder is listed by name."""
    for one in values(role, "ARG") + values(role, "ENV"):
        assert not re.search(r"token|secret|password|passwd|credential|_key", one, re.IGNORECASE)
    assert values(role, "ADD") == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert [name for name in allowed if not (ROOT / name).exists() and name != "README.md"] == []
    assert not {".git", ".local", "."} & set(allowed)


def test_all_packages_of_the_project_reach_the_builder() -> None:
    """A room that is missing from .dockerignore would be missing from the image."""
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    allowed = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert rooms <= allowed


def test_images_say_what_they_are(role: str) -> None:
    """The OCI labels name title, licence, version, revision and source."""
    labels = " ".join(values(role, "LABEL"))
    for name in ("title", "description", "licenses", "version", "revision", "source"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_builds_can_be_repeated(role: str) -> None:
    """Time stamps, hash seed, bytecode and Debian packages do not depend on the build."""
    run = " ".join(values(role, "RUN"))
    assert "--invalidation-mode unchecked-hash" in run
    assert "snapshot.debian.org" in run
    assert "SOURCE_DATE_EPOCH=0" in values(role, "ARG")
    assert any("PYTHONHASHSEED=0" in one for one in values(role, "ENV"))


def test_the_training_image_knows_both_kinds_of_torch() -> None:
    """CUDA by default, CPU by argument, anything else refused in a clear line."""
    run = " ".join(values("training", "RUN"))
    assert "TORCH=cuda" in values("training", "ARG")
    assert "https://download.pytorch.org/whl/cpu torch torchvision" in run
    assert "use cuda or cpu" in run


def test_bake_builds_the_files_that_are_there() -> None:
    """Each target of docker-bake.hcl names a Dockerfile and passes arguments that it takes."""
    text = (ROOT / "docker-bake.hcl").read_text()
    files = {Path(name).name for name in re.findall(r'dockerfile = "([^"]+)"', text)}
    assert files == {path.name for path in DOCKERFILES.values()}
    passed = set(re.findall(r"^    ([A-Z_]+) +=", text, re.MULTILINE))
    for name in passed:
        takers = ["training"] if name == "TORCH" else list(DOCKERFILES)
        for taker in takers:
            assert any(one.split("=")[0] == name for one in values(taker, "ARG")), name
    for kind in ("tasks", "training"):
        assert f"${{REGISTRY}}/{kind}:${{VERSION}}" in text

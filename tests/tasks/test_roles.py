"""Light tasks run from end to end with nothing but the packages of their image."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("light_run.py")


@pytest.fixture(scope="module")
def roles() -> ModuleType:
    """images/roles.py, which knows what each image installs."""
    spec = importlib.util.spec_from_file_location("roles", ROOT / "images" / "roles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def blocked(roles: ModuleType) -> list[str]:
    """The top-level modules of this environment that the image of light tasks does not have."""
    installed = set(roles.closure("tasks")) | {"oppen"}
    return [
        name
        for name, packages in packages_distributions().items()
        if not {roles.canonicalize_name(package) for package in packages} & installed
    ]


def test_the_image_of_light_tasks_lacks_the_heavy_libraries(blocked: list[str]) -> None:
    """What this test hides is what a pod of the small image cannot import."""
    heavy = {"torch", "torchvision", "transformers", "datasets", "matplotlib", "safetensors"}
    assert heavy | {"numpy", "pandas", "mlxtend", "peft"} <= set(blocked)
    assert not {"flytekit", "mlflow", "minio", "yaml"} & set(blocked)


@pytest.mark.e2e
def test_light_tasks_run_with_the_packages_of_their_role(
    blocked: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Opening, billing, registering, storing, promoting, reporting: also what is imported late."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(blocked), str(tmp_path / "files")],
        cwd=ROOT,
        env=os.environ
        | environment
        | {"PYTHONPATH": str(ROOT), "OPPEN_LOCAL": str(tmp_path / "local")},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert outcome["status"] == "completed"
    assert outcome["alias"] == "challenger+champion"
    assert outcome["stored"].startswith("s3://")
    assert outcome["report"].startswith("s3://")
    assert outcome["examples"] > 0
    assert outcome["kept"] == "skipped: nothing changed"
    assert not {name.partition(".")[0] for name in outcome["modules"]} & set(blocked)

"""The script that says what each image role installs."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    """Imports a script that belongs to no package."""
    spec = importlib.util.spec_from_file_location(f"images_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def roles() -> ModuleType:
    """images/roles.py."""
    return load(ROOT / "images" / "roles.py")


@pytest.fixture(scope="session")
def tools() -> ModuleType:
    """charts/tools.py, which finds hadolint."""
    return load(ROOT / "charts" / "tools.py")

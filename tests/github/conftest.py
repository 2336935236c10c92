"""The workflows as parsed, and the scripts that they run."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Imports a script of the repository that belongs to no package."""

    def by_path(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"github_{Path(path).stem}", ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return by_path


@pytest.fixture(scope="session")
def workflows() -> dict[str, dict[Any, Any]]:
    """Every workflow by its file's name."""
    return {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    }

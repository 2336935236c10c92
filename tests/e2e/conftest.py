"""Whole pipelines on one machine, with real servers, in folders of their own."""

import tempfile
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from stores.settings import Settings
from tasks.attempt import local_cores
from tests.e2e.digits import write_digits

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, with Flyte's local cache, the shelf and all temporary files."""
    home = tmp_path_factory.mktemp("home")
    for name in ("tmp", "local"):
        (home / name).mkdir()
    return home


@pytest.fixture(scope="session")
def variables(home: Path, settings: Settings) -> dict[str, str]:
    """Environment of a pipeline: the servers of the tests, and nothing of the user's."""
    return {
        **settings.to_environment(),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "OPPEN_LOCAL": str(home / "local"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def here(variables: dict[str, str], home: Path) -> Iterator[pytest.MonkeyPatch]:
    """The same for pipelines that run inside the process of the tests."""
    import torch
    from flytekit.core import local_cache

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(home / "tmp"))
        patch.setattr(local_cache, "CACHE_LOCATION", str(home / ".flyte" / "local-cache"))
        patch.setattr(local_cache.LocalTaskCache, "_initialized", False)
        torch.set_num_threads(1)
        yield patch
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four IDX files: 40 digits of each class to train on, 20 held out."""
    return write_digits(tmp_path_factory.mktemp("digits"), num_train=40, num_test=20)


@pytest.fixture
def unique() -> str:
    """A name for a model and an experiment that no other test uses."""
    return f"digits-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def dollar_a_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rate card by which all cores of this machine cost one dollar a second, at any hour."""
    card = tmp_path_factory.mktemp("rates") / "dear.yaml"
    hourly = Decimal(3600) / local_cores()
    quote = "source: a test, date: 2026-01-01"
    card.write_text(
        f"""
currency: USD
timezone: UTC
versions:
  - effective: 2020-01-01
    prices:
      core_hour: {{price: {hourly}, {quote}}}
      memory_gib_hour: {{price: 0, {quote}}}
      storage_gib_month: {{price: 0, {quote}}}
      gpu_hour:
        generic: {{price: 0, {quote}}}
    bands:
      - {{name: always, multiplier: 1, when: otherwise}}
    spot: 0.3
    priority: {{normal: 1}}
""",
        encoding="utf-8",
    )
    return card

"""The digest of the code that makes an output: all of it, and nothing has to be imported for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.source_digest import source_digest, sources_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose `made` imports `helper` in a function; `other` stands apart."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "dough"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "made.py").write_text("import json\ndef f():\n    from dough.helper import a\n")
    (folder / "helper.py").write_text("import dough.made\nraise SystemExit\n")
    (folder / "other.py").write_text("A = 1\n")
    return folder


def test_a_change_anywhere_below_changes_the_digest(package: Path) -> None:
    """Imports are followed, circles too; what is not imported does not count."""
    first = source_digest(["dough.made"])
    (package / "other.py").write_text("A = 2\n")
    assert source_digest(["dough.made"]) == first
    (package / "helper.py").write_text("raise KeyboardInterrupt\n")
    assert source_digest(["dough.made"]) != first
    assert set(sources_of(["dough.made"])) == {"dough.made", "dough.helper"}


@pytest.mark.parametrize(
    "module", ["agent_data", "image_data", "text_data", "agent_base", "agent_tuning"]
)
def test_what_a_module_loads_of_its_package_is_found(module: str) -> None:
    """Python's own list of what was imported holds nothing that the digest forgot."""
    code = f"import sys, training.{module}; print(*(m for m in sys.modules if 'training.' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name for name in done.stdout.split() if name.startswith("training.")}
    assert loaded
    assert loaded <= set(sources_of([f"training.{module}"]))

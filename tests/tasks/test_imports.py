"""What loading a task or a workflow module costs: no library that it does not need."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LIGHT = [
    f"tasks.{path.stem}"
    for path in sorted((ROOT / "tasks").glob("*.py"))
    if "**LIGHT.options()" in path.read_text(encoding="utf-8")
]
"""The modules of tasks that run in the image without torch."""

WITHOUT_ELASTIC = ["workflows.agent", "workflows.cost_report"]
EVERYTHING = [
    f"{room}.{path.stem}"
    for room in ("tasks", "workflows", "launchplans")
    for path in sorted((ROOT / room).glob("*.py"))
    if path.stem != "__init__"
]

LIBRARIES = ["mlflow", "transformers", "datasets", "torchvision", "matplotlib", "peft"]
TORCH = ["torch", "numpy", "safetensors"]

IMPORT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
# A stand-in that flytekit leaves until first use has a type of its own: it is not loaded.
print(json.dumps([name for name, m in sys.modules.items() if type(m) is type(sys)]))
"""


def loaded_by(modules: list[str]) -> set[str]:
    """The modules that a fresh process has loaded after importing these."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, json.dumps(modules)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_light_tasks_are_found() -> None:
    """The list is read from the source; these are known to be in it."""
    assert {f"tasks.{name}" for name in ("price", "register", "store", "promote")} <= set(LIGHT)


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        pytest.param(LIGHT, [*LIBRARIES, *TORCH, "pandas"], id="light tasks"),
        pytest.param(WITHOUT_ELASTIC, [*LIBRARIES, *TORCH, "pandas"], id="workflows without DDP"),
        pytest.param(EVERYTHING, LIBRARIES, id="everything"),
    ],
)
def test_modules_load_no_library_they_do_not_need(modules: list[str], unwanted: list[str]) -> None:
    """Every pod pays for what its module imports, and `pyflyte` for a whole workflow."""
    assert not loaded_by(modules) & set(unwanted)


def test_elastic_tasks_leave_data_frames_asleep_and_usable() -> None:
    """Torch does not wake flytekit's stand-in for pandas; whoever needs pandas still gets it."""
    script = (
        "import sys, tasks.train_image_elastic\n"
        "assert type(sys.modules['torch']) is type(sys)\n"
        "assert type(sys.modules['pandas']) is not type(sys)\n"
        "import pandas\n"
        "from flytekit.types.structured.structured_dataset import StructuredDataset\n"
        "assert len(pandas.DataFrame({'a': [1, 2]})) == 2\n"
        "assert StructuredDataset(pandas.DataFrame({'a': [1]})) is not None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]

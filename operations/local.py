"""Runs a workflow on this machine through `pyflyte run`; the source is read, not imported."""

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.texts import nearest

_STARTABLE = {"workflow", "task", "dynamic"}
FOLDERS = ("workflows", "launchplans")


@dataclass(frozen=True, kw_only=True)
class Startable:
    """Something that `pyflyte run` can start."""

    name: str
    """Its Python name: `pyflyte run` knows launch plans by it too."""

    registered: str
    """The name on a server; of a launch plan, the name that its source gives it."""

    file: Path
    """The module that defines it."""

    inputs: tuple[str, ...] | None
    """Names of its inputs, or None where the source does not tell (launch plans)."""


def project_root(start: Path) -> Path:
    """The nearest folder upwards that has `workflows/`.

    Raises:
        ValueError: There is none.
    """
    for folder in (start, *start.parents):
        if (folder / FOLDERS[0]).is_dir():
            return folder
    raise ValueError(f"no {FOLDERS[0]}/ folder in {start} or above: run it inside the project")


def startables(root: Path) -> Iterator[Startable]:
    """Workflows and launch plans of the project at `root`."""
    for folder in FOLDERS:
        for file in sorted((root / folder).glob("**/*.py")):
            module = ".".join(file.relative_to(root).with_suffix("").parts)
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                yield from _startable(node, file, module)


def _startable(node: ast.stmt, file: Path, module: str) -> Iterator[Startable]:
    if isinstance(node, ast.FunctionDef):
        if any(_called(decorator) in _STARTABLE for decorator in node.decorator_list):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield Startable(
                name=node.name,
                registered=f"{module}.{node.name}",
                file=file,
                inputs=tuple(argument.arg for argument in arguments),
            )
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        call, target = node.value, node.targets[0]
        if _called(call) in ("get_or_create", "create") and isinstance(target, ast.Name):
            named = [k.value for k in call.keywords if k.arg == "name"] or call.args[1:2]
            text = named[0].value if named and isinstance(named[0], ast.Constant) else None
            yield Startable(
                name=target.id, registered=str(text or target.id), file=file, inputs=None
            )


def _called(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _called(node.func)
    return getattr(node, "id", getattr(node, "attr", ""))


def find_startable(root: Path, name: str) -> Startable:
    """Finds a workflow or launch plan by its Python name or by the name it has on a server.

    Raises:
        ValueError: None or several are called so.
    """
    known = list(startables(root))
    found = [s for s in known if name in (s.name, s.registered)]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(s.registered for s in found)
        raise ValueError(f"{name!r} is ambiguous: {places}")
    raise ValueError(
        f"no workflow or launch plan is called {name!r}{nearest(name, {s.name for s in known})}"
    )


def run_locally(root: Path, target: Startable, inputs: Mapping[str, Any]) -> int:
    """Runs `pyflyte run` in a process of its own; its output goes straight through.

    Returns:
        Its exit status.

    Raises:
        ValueError: An input is unknown.
    """
    for name in inputs:
        if target.inputs is not None and name not in target.inputs:
            raise ValueError(f"{target.name} has no input {name!r}{nearest(name, target.inputs)}")
    with tempfile.TemporaryDirectory(prefix="oppen-launch-") as folder:
        file = Path(folder) / "inputs.json"
        file.write_text(json.dumps(inputs, default=str), encoding="utf-8")
        module = str(target.file.relative_to(root))
        command = pyflyte("run", module, target.name, "--inputs-file", str(file))
        return subprocess.run(command, cwd=root, check=False).returncode


def pyflyte(*arguments: str) -> list[str]:
    """A pyflyte command line for the interpreter that runs this."""
    module = "flytekit.clis.sdk_in_container.pyflyte"
    return [sys.executable, "-c", f"from {module} import main; main()", *arguments]

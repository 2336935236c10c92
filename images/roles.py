# ruff: noqa: INP001 - a script beside the Dockerfiles, not part of a package
"""What each image role installs, and how much of the disk that takes.

    python images/roles.py requirements tasks         what the image asks pip for
    python images/roles.py sizes                      what that takes in this environment
    python images/roles.py packages tasks             the closure, one package a line
    python images/roles.py prune FOLDER               remove from site-packages what no image needs

Sizes are those of the files that the installed packages list, bytecode included and what is pruned
left out, measured in the environment that runs this, which must have the role installed. A CPU
build is estimated from a CUDA build: without the NVIDIA and Triton packages and without torch's
libraries for CUDA.
"""

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
ROLES = {"tasks": (), "training": ("train", "llm", "mlx")}
"""Extras of the project that each role's image installs."""

CUDA_PACKAGE = re.compile(r"^(nvidia-|cuda-|triton$)")
CUDA_FILE = re.compile(r"^torch(vision)?/.*(cuda|nvrtc|cudnn|cublas|nvshmem)[^/]*\.so")
PRUNED = re.compile(
    r"^(numpy|pandas|scipy|sklearn|pyarrow|sympy|matplotlib|joblib|mlxtend)/(.*/)?tests/"
    r"|^(torch|mlx)/(include|share)/|^torch/bin/protoc|^pyarrow/include/"
)
"""Tests of the packages, and headers for compilers that the images do not have."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Bytes on the disk of one role's packages."""

    role: str
    packages: int
    """How many packages the role installs."""

    total: int
    cuda: int
    """The part of the total that a CPU build does not have."""

    @property
    def without_cuda(self) -> int:
        """Bytes of a CPU build, as far as a CUDA build shows them."""
        return self.total - self.cuda


def requirements(role: str) -> list[str]:
    """The project's own requirements for a role, extras of the project itself resolved."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    def lines(texts: list[str]) -> Iterator[str]:
        for text in texts:
            requirement = Requirement(text)
            if canonicalize_name(requirement.name) == project["name"]:
                for extra in sorted(requirement.extras):
                    yield from lines(extras[extra])
            else:
                yield text

    wanted = [*project["dependencies"]]
    for extra in ROLES[role]:
        wanted += extras[extra]
    return sorted(set(lines(wanted)))


def closure(role: str) -> dict[str, importlib.metadata.Distribution]:
    """Every package that a role installs, by canonical name, as found in this environment."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()

    def follow(texts: list[str], extra: str) -> None:
        for text in texts:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            for wanted in ("", *requirement.extras):
                if (name, wanted) in seen:
                    continue
                seen.add((name, wanted))
                if name not in found:
                    found[name] = importlib.metadata.distribution(name)
                follow(found[name].requires or [], wanted)

    follow(requirements(role), "")
    return found


def measure(role: str) -> Size:
    """Adds up the files of a role's packages."""
    total = cuda = 0
    packages = closure(role)
    for name, distribution in packages.items():
        for file in distribution.files or []:
            path = Path(str(file.locate()))
            if PRUNED.match(str(file)) or not path.is_file():
                continue
            size = path.stat().st_size
            total += size
            if CUDA_PACKAGE.match(name) or CUDA_FILE.match(str(file)):
                cuda += size
    return Size(role=role, packages=len(packages), total=total, cuda=cuda)


def prune(folder: Path) -> int:
    """Removes from a site-packages folder what no image needs; returns the bytes saved."""
    saved = 0
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and PRUNED.match(path.relative_to(folder).as_posix()):
            saved += path.stat().st_size
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return saved


def main(arguments: list[str]) -> int:
    """Prints what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["requirements", "packages", "sizes", "prune"])
    parser.add_argument("role", nargs="?", metavar="ROLE or FOLDER")
    options = parser.parse_args(arguments)
    if options.what == "prune":
        print(f"pruned {prune(Path(options.role)) / 1e6:.0f} MB")
        return 0
    if options.what == "sizes":
        print(f"{'role':10}{'packages':>10}{'GB':>8}{'GB without CUDA':>18}")
        for role in [options.role] if options.role in ROLES else ROLES:
            size = measure(role)
            print(
                f"{role:10}{size.packages:10}{size.total / 1e9:8.2f}{size.without_cuda / 1e9:18.2f}"
            )
        return 0
    if options.role not in ROLES:
        parser.error(f"{options.what} needs a role: {' or '.join(ROLES)}")
    lines = requirements(options.role) if options.what == "requirements" else closure(options.role)
    print("\n".join(sorted(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

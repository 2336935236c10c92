"""Import time of each task, workflow and launch plan module, each in fresh processes.

    python benchmarks/imports.py [--repeat 5] [--json FILE]

Every pod pays for what the module of its task imports. The peers are what cannot be had for less:
flytekit alone, and flytekit with its PyTorch plugin and torch. All modules take turns, so that a
busy moment of the machine falls on all of them alike; medians count. Processor time stands beside
the wall time because it is the steadier of the two on a machine that others use. A first round
that nobody measures writes the byte code.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("tasks", "workflows", "launchplans")
HEAVY = ("torch", "torchvision", "transformers", "datasets", "mlflow", "pandas", "matplotlib")
FLYTE_ALONE = "flytekit"
FLYTE_WITH_TORCH = "flytekitplugins.kfpytorch torch.distributed.run"
EVERYTHING = "everything"

_CHILD = """
import importlib, json, resource, sys, time
names, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
for name in names:
    importlib.import_module(name)
wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
# A stand-in that flytekit leaves until first use has a type of its own: it is not loaded.
loaded = [name for name in heavy if type(sys.modules.get(name)) is type(sys)]
print(json.dumps({"wall_seconds": wall, "cpu_seconds": cpu, "heavy": loaded,
                  "modules": len(sys.modules)}))
"""


@dataclass(frozen=True, kw_only=True)
class Import:
    """What importing something took."""

    name: str
    """The module, or several together."""

    wall_seconds: float
    """Median over the rounds."""

    cpu_seconds: float
    """Median of user and system time."""

    modules: int
    """Entries of `sys.modules` afterwards."""

    heavy: tuple[str, ...]
    """Those of `HEAVY` that were loaded."""


def project_modules() -> list[str]:
    """The modules that a pod or `pyflyte` is told to load: those with a task, workflow or plan."""
    return [
        f"{room}.{path.stem}"
        for room in ROOMS
        for path in sorted((ROOT / room).glob("*.py"))
        if path.stem != "__init__" and (room != "tasks" or "\n@task(" in path.read_text())
    ]


def light_task_modules() -> list[str]:
    """The modules of the tasks that run in the image without torch."""
    return [
        f"tasks.{path.stem}"
        for path in sorted((ROOT / "tasks").glob("*.py"))
        if "**LIGHT.options()" in path.read_text()
    ]


def import_once(names: list[str]) -> Import:
    """Imports `names` in a fresh process.

    Raises:
        RuntimeError: one of them cannot be imported; the message is the last line of the error.
    """
    command = [sys.executable, "-c", _CHILD, json.dumps(names), json.dumps(HEAVY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{', '.join(names)} cannot be imported: {last}")
    record = json.loads(done.stdout.splitlines()[-1])
    return Import(name=" ".join(names), **record | {"heavy": tuple(record["heavy"])})


def measure(repeat: int) -> list[Import]:
    """Imports everything `repeat` times, in turns; minutes on two cores."""
    modules = project_modules()
    subjects = {name: [name] for name in [FLYTE_ALONE, *modules]}
    subjects |= {FLYTE_WITH_TORCH: FLYTE_WITH_TORCH.split(), EVERYTHING: modules}
    import_once(modules)
    rounds = [{name: import_once(each) for name, each in subjects.items()} for _ in range(repeat)]
    return [
        Import(
            name=name,
            wall_seconds=statistics.median(one[name].wall_seconds for one in rounds),
            cpu_seconds=statistics.median(one[name].cpu_seconds for one in rounds),
            modules=rounds[0][name].modules,
            heavy=rounds[0][name].heavy,
        )
        for name in subjects
    ]


def rows(imports: list[Import]) -> list[dict[str, object]]:
    """The claims: the slowest light task module, everything together, and what that loads."""
    by_name = {each.name: each for each in imports}
    together, floor = by_name[EVERYTHING], by_name[FLYTE_ALONE]
    light = [by_name[name] for name in light_task_modules()]
    slowest = max(light, key=lambda each: each.wall_seconds)
    unwanted = [name for name in together.heavy if name not in {"torch", "pandas"}]
    both = by_name[FLYTE_WITH_TORCH]
    return [
        _row(f"import of {slowest.name}, the slowest light task", slowest, floor, "wall"),
        _row("the same in processor time", max(light, key=lambda i: i.cpu_seconds), floor, "cpu"),
        _row("import of everything together", together, both, "wall"),
        _row("everything in processor time", together, both, "cpu"),
        {
            "measure": "libraries that nothing should load, in everything",
            "ours": float(len(unwanted)),
            "peer": None,
            "ratio": None,
            "unit": "libraries",
        },
    ]


def _row(measure: str, ours: Import, peer: Import, clock: str) -> dict[str, object]:
    mine, theirs = (
        each.wall_seconds if clock == "wall" else each.cpu_seconds for each in (ours, peer)
    )
    return {"measure": measure, "ours": mine, "peer": theirs, "ratio": mine / theirs, "unit": "s"}


def main() -> None:
    """Prints a line for each module, and writes the claims as rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="processes for each module")
    parser.add_argument("--json", type=Path, help="write the claims and all figures here")
    given = parser.parse_args()
    if given.repeat < 1:
        parser.error(f"--repeat is {given.repeat}; give 1 or more")
    imports = measure(given.repeat)
    print("| module | wall s | processor s | modules | heavy libraries |\n|---|---|---|---|---|")
    for each in imports:
        figures = f"{each.wall_seconds:.2f} | {each.cpu_seconds:.2f} | {each.modules}"
        print(f"| {each.name} | {figures} | {', '.join(each.heavy)} |")
    if given.json:
        found = {"rows": rows(imports), "modules": [asdict(each) for each in imports]}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

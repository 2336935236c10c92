"""What a run of the MNIST pipeline takes beyond its training loop, and where it goes.

    python benchmarks/overhead.py [--epochs 3] [--json FILE]

Starts an MLflow and an S3 server of its own, then runs three fresh processes one after the other:
`pyflyte run workflows/mnist.py mnist_pipeline` with nothing prepared (cold), the same again
(cached), and the peer, a bare script that imports the loop, loads the prepared data and trains. The
overhead is the wall time of a whole process less that of the loop in it; the servers' start is not
in it.

A stopwatch in the process divides the time. Whatever happens inside an import counts as import,
whoever asked for it; `flyte and the rest` is what no name claims: the command line, types, Decks
and copies of files. Processor time (user and system, with child processes) stands beside the wall
time, since it is steadier on a machine that others use.
"""

import argparse
import builtins
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REST = "flyte and the rest"
START = "interpreter"
IMPORTS = "imports"
LOOP = "loop"
PARTS: dict[str, tuple[str, ...]] = {
    "preparation": (
        "training.image_sources.content_digest",
        "training.image_data.prepare_images",
        "training.image_data.load_images",
    ),
    LOOP: ("training.classifier.train_classifier",),
    "evaluation and figures": (
        "training.cnn.predict_logits",
        "training.evaluation.evaluate",
        "training.figures.training_curves",
        "training.figures.confusion_matrix",
        "training.figures.worst_mistakes",
        "training.figures.evaluation_table",
    ),
    "packaging": ("stores.registry.save_classifier",),
    "MLflow": (
        "stores.tracking.open_run",
        "stores.tracking.find_run",
        "stores.tracking.read_run",
        "stores.tracking.recent_metric",
        "stores.tracking.log_final",
        "stores.tracking.log_artifacts",
        "stores.tracking.finish_run",
        "stores.registry.champion",
        "stores.registry.register_version",
        "stores.registry.set_alias",
        "stores.registry.fetch_model",
        "stores.attempts.read_attempts",
        "stores.attempts.AttemptLedger.start",
        "stores.attempts.AttemptLedger.finish",
        "stores.mlflow_reporter.MlflowReporter.close",
    ),
    "S3": ("stores.artifacts.store_version", "stores.artifacts.fetch_version"),
    "reload check": ("stores.reload.largest_difference",),
}
"""Where the time of a run goes, by the functions that take it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One process."""

    wall_seconds: float
    """From its start to its end, as seen from outside."""

    cpu_seconds: float
    """User and system time, with its children's."""

    wall: dict[str, float]
    """Wall seconds by part; they add up to `wall_seconds`."""

    cpu: dict[str, float]
    """Processor seconds by part; they add up to `cpu_seconds`."""

    @property
    def overhead_seconds(self) -> float:
        """Everything but the loop."""
        return self.wall_seconds - self.wall[LOOP]

    @property
    def overhead_cpu_seconds(self) -> float:
        """Everything but the loop, in processor time."""
        return self.cpu_seconds - self.cpu[LOOP]


class Stopwatch:
    """Gives every moment of the main thread to the innermost part that runs."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._parts = [REST]
        self._wall_mark, self._cpu_mark = time.perf_counter(), cpu_seconds()

    def measuring(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function so that its time, less that of parts within, goes to `part`."""

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            if current_thread() is not main_thread() or self._parts[-1] in {part, IMPORTS}:
                return function(*args, **kwargs)
            self._lap()
            self._parts.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._lap()
                self._parts.pop()

        return measured

    def stop(self) -> None:
        """Accounts for the time since the last change of part."""
        self._lap()

    def _lap(self) -> None:
        wall, cpu = time.perf_counter(), cpu_seconds()
        self.wall[self._parts[-1]] += wall - self._wall_mark
        self.cpu[self._parts[-1]] += cpu - self._cpu_mark
        self._wall_mark, self._cpu_mark = wall, cpu


def cpu_seconds() -> float:
    """User and system time of this process, all its threads, and the children that have ended."""
    return sum(os.times()[:4])


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Runs the pipeline, or the loop alone, in this process and divides its time."""
    watch = Stopwatch()
    early_wall, early_cpu = time.time() - order["started"], cpu_seconds()
    watch.wall[START], watch.cpu[START] = early_wall, early_cpu
    builtins.__import__ = watch.measuring(IMPORTS, builtins.__import__)
    importlib.import_module = watch.measuring(IMPORTS, importlib.import_module)
    run = _run_alone if "prepared" in order else _run_pipeline
    run(order, watch)
    watch.stop()
    return {"wall": dict(watch.wall), "cpu": dict(watch.cpu)}


def _run_pipeline(order: dict[str, Any], watch: Stopwatch) -> None:
    _watch_parts(watch)
    from flytekit.clis.sdk_in_container.pyflyte import main as pyflyte

    inputs = ["--min_accuracy", "0", "--config", json.dumps(order["config"])]
    pyflyte.main(["run", "workflows/mnist.py", "mnist_pipeline", *inputs], standalone_mode=False)


def _run_alone(order: dict[str, Any], watch: Stopwatch) -> None:
    _watch_parts(watch)
    from training.classifier import train_classifier
    from training.classifier_config import ClassifierConfig
    from training.distributed import process_group
    from training.image_data import load_images

    data = load_images(Path(order["prepared"]))
    with tempfile.TemporaryDirectory() as out, process_group() as ranks:
        train_classifier(ClassifierConfig(**order["config"]), data, out=Path(out), ranks=ranks)


def _watch_parts(watch: Stopwatch) -> None:
    """Wraps the functions of `PARTS` where they are defined, before anybody imports them."""
    for part, names in PARTS.items():
        for name in names:
            module_name, *path = _split(name)
            owner: Any = importlib.import_module(module_name)
            for attribute in path[:-1]:
                owner = getattr(owner, attribute)
            setattr(owner, path[-1], watch.measuring(part, getattr(owner, path[-1])))


def _split(name: str) -> list[str]:
    """Splits "room.module.Class.method" after its module."""
    room, module, *path = name.split(".")
    return [f"{room}.{module}", *path]


def in_process(order: dict[str, Any], environment: dict[str, str]) -> Measured:
    """Carries out an order in a fresh process.

    Raises:
        RuntimeError: the process failed; the message is the last line of its error output.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as found:
        before, started = os.times(), time.time()
        order = order | {"started": started, "to": found.name}
        done = subprocess.run(
            [sys.executable, __file__, "--order", json.dumps(order)],
            cwd=ROOT,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        wall, after = time.time() - started, os.times()
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"a run failed with exit status {done.returncode}: {last}")
        divided = json.loads(Path(found.name).read_text())
    cpu = sum(after[2:4]) - sum(before[2:4])
    # What is left comes after the last part: the interpreter's end.
    divided["wall"][REST] += wall - sum(divided["wall"].values())
    divided["cpu"][REST] += cpu - sum(divided["cpu"].values())
    return Measured(wall_seconds=wall, cpu_seconds=cpu, wall=divided["wall"], cpu=divided["cpu"])


def measure(epochs: int) -> dict[str, Measured]:
    """Runs the pipeline cold and cached, and the loop alone; a minute or two on two cores."""
    from operations.server_layout import Ports
    from operations.servers import local_servers

    config = {"epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        with local_servers(Path(folder) / "servers", Ports.free()) as servers:
            shelf = Path(folder) / "shelf"
            environment = servers.settings.to_environment() | {"OPPEN_LOCAL": str(shelf)}
            cold = in_process({"config": config}, environment)
            cached = in_process({"config": config}, environment)
        (manifest,) = shelf.glob("prepared/images/*/manifest.json")
        alone = in_process({"config": config, "prepared": str(manifest.parent)}, {})
    return {"cold": cold, "cached": cached, "loop alone": alone}


def rows(runs: dict[str, Measured]) -> list[dict[str, Any]]:
    """The claims: what a run takes beyond its loop, beside what a bare script with that loop does.

    A loop differs from the next by more than some parts take, so each run is held against its own.
    """
    alone = runs["loop alone"]
    return [
        {
            "measure": f"{measure}, {name} run",
            "ours": getattr(runs[name], figure),
            "peer": getattr(alone, figure),
            "ratio": getattr(runs[name], figure) / getattr(alone, figure),
            "unit": "s",
        }
        for name in ("cold", "cached")
        for measure, figure in (
            ("all but the loop", "overhead_seconds"),
            ("the same in processor time", "overhead_cpu_seconds"),
        )
    ]


def print_table(runs: dict[str, Measured]) -> None:
    """Prints the parts of each run, wall and processor seconds."""
    names = list(runs)
    print("| part | " + " | ".join(f"{name}: wall s (processor s)" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for part in (START, IMPORTS, *PARTS, REST):
        cells = [f"{r.wall.get(part, 0):.2f} ({r.cpu.get(part, 0):.2f})" for r in runs.values()]
        print(f"| {part} | {' | '.join(cells)} |")
    whole = [f"{r.wall_seconds:.2f} ({r.cpu_seconds:.2f})" for r in runs.values()]
    beyond = [f"{r.overhead_seconds:.2f} ({r.overhead_cpu_seconds:.2f})" for r in runs.values()]
    print(f"| whole | {' | '.join(whole)} |\n| all but the loop | {' | '.join(beyond)} |")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of the loop, which is left out")
    parser.add_argument("--json", type=Path, help="write the claims and all figures here")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        order = json.loads(given.order)
        Path(order["to"]).write_text(json.dumps(carry_out(order)))
        return
    runs = measure(given.epochs)
    print_table(runs)
    if given.json:
        found = {"rows": rows(runs), "runs": {name: asdict(run) for name, run in runs.items()}}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

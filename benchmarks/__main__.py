"""Runs the benchmarks and prints one table of claims.

    python -m benchmarks [--quick] [--json FILE] [NAME ...]

Each script runs in a process of its own, one after the other. A missing peer or data set is said in
one line and its claim stays open; an aim that is not met is shown and changes nothing; a script
that fails makes the command fail after the others have run.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.claims import BENCHMARKS, Benchmark

ROOT = Path(__file__).resolve().parents[1]
HEADER = "| claim | ours | peer | unit | ratio | aim | met |\n|---|---|---|---|---|---|---|"


class BenchmarkFailed(RuntimeError):  # noqa: N818 - reads as what happened
    """A script that ended with an error, or said nothing that could be read."""


def missing(benchmark: Benchmark) -> str | None:
    """Says what keeps a benchmark, or its peer, from being measured here."""
    if benchmark.data is not None and not benchmark.data.is_dir():
        return f"{benchmark.name} is not run: no {benchmark.data}; {benchmark.data_hint}"
    if benchmark.package and importlib.util.find_spec(benchmark.package) is None:
        return (
            f"{benchmark.name} has no peer: {benchmark.package} is missing; "
            "pip install 'oppen[bench]'"
        )
    return None


def run(benchmark: Benchmark, *, is_quick: bool) -> list[dict[str, Any]]:
    """Runs a script and returns its claims, each with its aim and whether that is met.

    Raises:
        BenchmarkFailed: it ended with an error; the message ends with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "rows.json"
        command = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark.name}.py")]
        command += benchmark.quick if is_quick else ()
        command += ["--json", str(to)] if benchmark.writes_rows else []
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        print(done.stdout, end="", file=sys.stderr)
        if done.returncode:
            said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
            raise BenchmarkFailed(f"{benchmark.name} failed ({done.returncode}): {said[-1]}")
        if benchmark.writes_rows:
            read = json.loads(to.read_text())
            rows: list[dict[str, Any]] = read["rows"] if isinstance(read, dict) else read
        else:
            try:
                rows = benchmark.printed_rows(done.stdout)
            except ValueError as error:
                raise BenchmarkFailed(str(error)) from error
    return [judged(benchmark, row) for row in rows]


def judged(benchmark: Benchmark, row: dict[str, Any]) -> dict[str, Any]:
    """Adds the benchmark's name, the aim, and whether it is met."""
    aim = benchmark.aim_of(row["measure"])
    return {
        "benchmark": benchmark.name,
        **row,
        "aim": None if aim is None else str(aim),
        "met": None if aim is None else aim.is_met(row),
    }


def machine() -> str:
    """Describes what the figures were measured on, without naming it."""
    load = f"load {os.getloadavg()[0]:.1f}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    accelerators = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return ", ".join(
        [
            f"{os.cpu_count()} cores ({processor()})",
            f"{memory:.0f} GiB",
            f"{accelerators} NVIDIA GPUs",
            load,
            f"Python {platform.python_version()}",
            f"torch {version('torch')}",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        ]
    )


def processor() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: list[dict[str, Any]]) -> str:
    """Lays out the claims, one a line."""
    return "\n".join([HEADER, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    met = {True: "yes", False: "no", None: "" if row["aim"] is None else "not measured"}[row["met"]]
    cells = [
        f"{row['benchmark']}: {row['measure']}",
        *(_number(row[name]) for name in ("ours", "peer")),
        row["unit"],
        _number(row["ratio"]),
        row["aim"] or "",
        met,
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def main() -> int:
    """Runs what is asked for; 1 if a script failed."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="see that all of them work")
    parser.add_argument("--json", type=Path, help="write the table's content here")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: choose of {', '.join(names)}")
    chosen = [b for b in BENCHMARKS if not given.names or b.name in given.names]

    about, rows, notes, is_broken = machine(), [], [], False
    for number, benchmark in enumerate(chosen, 1):
        print(f"{number}/{len(chosen)} {benchmark.name}", file=sys.stderr, flush=True)
        if note := missing(benchmark):
            notes.append(note)
        if benchmark.data is not None and not benchmark.data.is_dir():
            continue
        try:
            rows += run(benchmark, is_quick=given.quick)
        except BenchmarkFailed as error:
            notes.append(str(error))
            is_broken = True
    kind = " (quick: the figures mean little)" if given.quick else ""
    print("\n".join([table(rows), "", f"machine: {about}{kind}", *notes]))
    if given.json:
        found = {"machine": about, "quick": given.quick, "claims": rows, "notes": notes}
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())

"""What `make bench` runs, and what each figure is held against."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a figure should come to."""

    figure: Literal["ours", "ratio"]
    """Our own value, or its ratio to the peer's."""

    limit: float
    """The least or the most."""

    is_least: bool
    """Whether more is better."""

    def is_met(self, row: dict[str, Any]) -> bool | None:
        """Compares a row with the limit; None where the figure is missing."""
        value = row[self.figure]
        if value is None:
            return None
        return bool(value >= self.limit if self.is_least else value <= self.limit)

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.is_least else '<='} {self.limit:g}"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A script of this folder, and how its figures are read."""

    name: str
    """The script without its ending."""

    writes_rows: bool = True
    """Whether it takes `--json FILE` and writes rows there."""

    figures: tuple[tuple[str, str, str, str], ...] = ()
    """For a script that only prints: claim, unit, and patterns of our figure and the peer's."""

    quick: tuple[str, ...] = ()
    """Arguments of a run that shows it works, whose figures mean little."""

    aims: tuple[tuple[str, Aim], ...] = ()
    """Aims by the beginning of a claim."""

    package: str = ""
    """What the peer needs: a package of the `bench` extra, or ""."""

    data: Path | None = None
    """The folder it reads, or None."""

    data_hint: str = ""
    """How to get that folder."""

    def printed_rows(self, said: str) -> list[dict[str, Any]]:
        """Reads rows from what the script printed.

        Raises:
            ValueError: our figure is not there: the script prints something else now.
        """
        found = []
        for claim, unit, mine, theirs in self.figures:
            ours, peer = _figure(mine, said), _figure(theirs, said)
            if ours is None:
                raise ValueError(f"{self.name}.py printed nothing like {mine!r}")
            ratio = None if peer is None else (peer / ours if unit == "s" else ours / peer)
            found.append(
                {"measure": claim, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit}
            )
        return found

    def aim_of(self, claim: str) -> Aim | None:
        """The aim of a claim, if it has one."""
        return next((aim for start, aim in self.aims if claim.startswith(start)), None)


def _figure(pattern: str, said: str) -> float | None:
    found = re.search(pattern, said)
    return float(found[1].replace(",", "")) if found else None


def at_most(limit: float) -> Aim:
    """Our own value must not pass `limit`."""
    return Aim(figure="ours", limit=limit, is_least=False)


def times(limit: float) -> Aim:
    """The ratio to the peer must reach `limit`."""
    return Aim(figure="ratio", limit=limit, is_least=True)


BENCHMARKS = (
    Benchmark(
        name="imports",
        quick=("--repeat", "1"),
        aims=(
            ("import of tasks", at_most(1)),
            ("import of everything", at_most(3)),
            ("libraries that nothing should load", at_most(0)),
        ),
    ),
    Benchmark(
        name="plan",
        writes_rows=False,
        figures=(
            (
                "pricing 10,000 starts, against bill by bill",
                "s",
                r"by the curve +([\d.]+) s",
                r"bill by bill +([\d.]+) s",
            ),
        ),
        aims=(("pricing 10,000 starts", at_most(1)),),
    ),
    Benchmark(
        name="overhead",
        quick=("--epochs", "1"),
        aims=(("all but the loop", at_most(15)),),
    ),
    Benchmark(
        name="images",
        quick=("--epochs", "1"),
        aims=(
            ("training,", times(2.5)),
            ("2 ranks against twice", times(0.9)),
            ("2 ranks with a whole batch", times(0.9)),
        ),
        data=FASHION_MNIST,
        data_hint="apt-get install dataset-fashion-mnist",
    ),
    Benchmark(
        name="language_model",
        writes_rows=False,
        figures=(
            (
                "full fine-tuning, against transformers' Trainer",
                "tokens/s",
                r"oppen +([\d,]+) tokens/s",
                r"Trainer +([\d,]+) tokens/s",
            ),
        ),
        quick=("--steps", "4", "--rounds", "1"),
        aims=(("full fine-tuning", times(1.3)),),
        package="accelerate",
    ),
    Benchmark(
        name="agent_tuning",
        writes_rows=False,
        figures=(
            (
                "LoRA on an agent's data, against TRL's SFTTrainer",
                "s",
                r"oppen +([\d.]+) s/step",
                r"SFTTrainer +([\d.]+) s/step",
            ),
        ),
        quick=("--steps", "2"),
        aims=(("LoRA", times(5)),),
        package="trl",
    ),
)

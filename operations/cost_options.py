"""What the `oppen cost` commands share: their options, their errors and their JSON."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.exits import Exit, one_line_errors

if TYPE_CHECKING:
    from accounting.rates import RateCard
    from accounting.usage import Resources

EXITS = (
    "Exit codes: 0 answered, 2 wrong option or input, 3 a server did not answer, "
    "4 does not fit budget or deadline."
)

Cores = Annotated[float, typer.Option("--cores", help="CPU cores of one process.")]
Memory = Annotated[float, typer.Option("--memory-gib", help="Memory of one process in GiB.")]
Gpus = Annotated[float, typer.Option("--gpus", help="GPUs of one process.")]
GpuType = Annotated[str, typer.Option("--gpu-type", help="Accelerator as the card names it.")]
Nodes = Annotated[int, typer.Option("--nodes", help="Machines.")]
Processes = Annotated[int, typer.Option("--processes", help="Processes per machine.")]
Storage = Annotated[float, typer.Option("--storage-gib", help="Disk of one process in GiB.")]
Spot = Annotated[bool, typer.Option("--spot/--on-demand", help="How it is bought.")]
Priority = Annotated[str, typer.Option("--priority", help="urgent, normal or background.")]
Start = Annotated[
    str | None,
    typer.Option("--start", help="Start with its offset, 2026-03-01T22:00+00:00; now without."),
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", help="When it must be over, with its offset.")
]
Budget = Annotated[
    float | None, typer.Option("--budget-usd", help="What it may cost; exit code 4 above it.")
]
Card = Annotated[
    Path | None,
    typer.Option("--rates", envvar="OPPEN_RATES", help="Rate card; the embedded one without."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def at_or_now(text: str | None, *, field: str) -> datetime:
    """Reads a time option; the present second where it was left out.

    Raises:
        ValueError: The text is no time, or has no offset.
    """
    from accounting.quantities import instant

    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    return instant(text, field=field)


def load_card(path: Path | None) -> "RateCard":
    """Reads the card that a command was told to use.

    Raises:
        RateCardError: The card cannot be used.
    """
    from accounting.rates import RateCard

    return RateCard.load(path)


def requested(
    *,
    cores: float,
    memory_gib: float,
    gpus: float,
    gpu_type: str,
    nodes: int,
    processes: int,
    storage_gib: float = 0,
) -> "Resources":
    """Builds the resources that the options describe.

    Raises:
        ValueError: An amount makes no sense.
    """
    from accounting.quantities import exact
    from accounting.usage import Resources

    return Resources(
        cores=exact(cores, field="--cores"),
        memory_gib=exact(memory_gib, field="--memory-gib"),
        gpus=exact(gpus, field="--gpus"),
        gpu_type=gpu_type,
        nodes=nodes,
        processes=processes,
        storage_gib=exact(storage_gib, field="--storage-gib"),
    )


def duration_seconds(seconds: float | None, hours: float | None) -> Decimal:
    """Reads a duration given in one of two units.

    Raises:
        ValueError: None or both are given, or it is negative.
    """
    from accounting.quantities import exact

    if seconds is not None and hours is None:
        return exact(seconds, field="--seconds")
    if hours is not None and seconds is None:
        return exact(hours, field="--hours") * 3600
    raise ValueError("give the duration once: either --seconds 213.4 or --hours 2.5")


@contextmanager
def errors(*unfit: type[ValueError]) -> Iterator[None]:
    """Ends a command with one line and a documented code: 4 for what does not fit, 2 for input."""
    from accounting.budget import BudgetExceeded, DeadlineExceeded

    refusals: tuple[type[ValueError], ...] = (BudgetExceeded, DeadlineExceeded, *unfit)
    with one_line_errors():
        try:
            yield
        except refusals as error:
            typer.echo(f"oppen: {error}", err=True)
            raise typer.Exit(Exit.BUDGET) from error


def print_json(content: Any) -> None:
    """Prints a JSON document for scripts."""
    typer.echo(json.dumps(content, indent=2))


def read_text(source: str) -> str:
    """Reads a file, or standard input where the name is `-`.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{source} cannot be read ({error.__class__.__name__}); name a readable file, or -"
        ) from error


def json_records(text: str, source: str) -> list[Any]:
    """Reads a JSON list, JSON lines, one object alone, or the list an object keeps.

    Raises:
        ValueError: The text is no JSON.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise ValueError(f"{source} is no JSON ({error.msg}, line {error.lineno})") from error
    if isinstance(content, dict):
        for name in ("attempts", "runs"):
            if isinstance(content.get(name), list):
                return list(content[name])
    return content if isinstance(content, list) else [content]


def write_text(text: str, path: Path, *, option: str) -> None:
    """Writes a file and says so on standard error.

    Raises:
        ValueError: The file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"{option} is {path}, which cannot be written ({error.__class__.__name__}); "
            "name a file in an existing folder"
        ) from error
    typer.echo(f"wrote {path}", err=True)

"""What a run used: resources, and the attempts that held them from one instant to another."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, Self, cast, get_args

from accounting.quantities import exact, exact_or_none, hours, instant, instant_or_none, whole

Purchase = Literal["on-demand", "spot"]
Outcome = Literal["succeeded", "failed", "killed", "stopped", "running"]
ResourceKind = Literal["cpu", "gpu", "memory", "storage"]

LOSING_OUTCOMES = ("failed", "killed")
"""After these the next attempt starts again from the last checkpoint."""


def accelerator_name(name: str) -> str:
    """Names an accelerator the way a rate card does: without vendor and family.

    >>> accelerator_name("nvidia-tesla-t4"), accelerator_name("H100")
    ('t4', 'h100')
    """
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    return re.sub(r"^(nvidia-|tesla-|geforce-)+", "", plain)


def known_accelerator(name: str, known: Iterable[str]) -> str | None:
    """Finds the known accelerator that a name means, or None.

    A driver's name says more than a price list: the known name with the most words, all of them in
    the name and beginning alike, is meant. A slice of a GPU (MIG) is not the GPU.

    >>> cards = ["generic", "a100", "a100-80gb", "h100", "l4"]
    >>> known_accelerator("NVIDIA A100-SXM4-80GB", cards)
    'a100-80gb'
    >>> known_accelerator("NVIDIA L40S", cards)  # not an L4
    """
    plain = accelerator_name(name)
    words = plain.split("-")
    if "mig" in words:
        return None
    meant = [
        one
        for one in known
        if one == plain or (one.split("-")[0] == words[0] and set(one.split("-")) <= set(words))
    ]
    return max(meant, key=lambda one: len(one.split("-")), default=None)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Units of one resource that are charged, over all nodes and processes."""

    resource: ResourceKind
    """What is charged: cores, GPUs, GiB of memory or GiB of storage."""

    busy: Fraction
    """Units at work; all of them where nothing was measured."""

    idle: Fraction
    """Units held but not at work."""


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """What was measured during an attempt, for one process on average."""

    busy_cores: Decimal | int | None = None
    """Mean cores at work, or None where unmeasured."""

    memory_gib: Decimal | int | None = None
    """Peak memory in GiB, or None where unmeasured."""

    gpu_busy: Decimal | int | None = None
    """Mean share of the time a GPU was at work, 0 to 1, or None where unmeasured."""

    def __post_init__(self) -> None:
        """Checks the figures and makes them exact."""
        for field in ("busy_cores", "memory_gib", "gpu_busy"):
            object.__setattr__(self, field, exact_or_none(getattr(self, field), field=field))
        if self.gpu_busy is not None and self.gpu_busy > 1:
            raise ValueError(f"gpu_busy is {self.gpu_busy}; give a share between 0 and 1")

    def to_record(self) -> dict[str, str | None]:
        """Gives the figures as a JSON object, exact."""
        return {
            "busy_cores": _text(self.busy_cores),
            "memory_gib": _text(self.memory_gib),
            "gpu_busy": _text(self.gpu_busy),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Reads what `to_record` gave."""
        return cls(**_known(cls, record))


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task asks for. Amounts are those of one process; `nodes` x `processes` share none."""

    cores: Decimal | int
    """CPU cores of one process."""

    memory_gib: Decimal | int = 0
    """Memory of one process in GiB."""

    gpus: Decimal | int = 0
    """GPUs of one process."""

    gpu_type: str = "generic"
    """Accelerator as the rate card names it; vendor prefixes are dropped."""

    nodes: int = 1
    """Machines."""

    processes: int = 1
    """Processes per machine."""

    storage_gib: Decimal | int = 0
    """Disk of one process in GiB, held for as long as the attempt runs."""

    def __post_init__(self) -> None:
        """Checks the amounts and makes them exact."""
        for field in ("cores", "memory_gib", "gpus", "storage_gib"):
            object.__setattr__(self, field, exact(getattr(self, field), field=field))
        for field in ("nodes", "processes"):
            object.__setattr__(self, field, whole(getattr(self, field), field=field, minimum=1))
        object.__setattr__(self, "gpu_type", accelerator_name(self.gpu_type))

    @property
    def world_size(self) -> int:
        """Counts the processes on all machines."""
        return self.nodes * self.processes

    def demands(self, utilisation: Utilisation | None = None) -> tuple[Demand, ...]:
        """Lists what is charged: max(request, usage) of each resource, split in busy and idle.

        What was not measured counts as busy. Resources of which nothing is held are left out.
        """
        used = utilisation or Utilisation()
        gpu_share = Decimal(1) if used.gpu_busy is None else used.gpu_busy
        pairs: tuple[tuple[ResourceKind, Decimal | int, Decimal | int], ...] = (
            ("cpu", self.cores, self.cores if used.busy_cores is None else used.busy_cores),
            ("gpu", self.gpus, self.gpus * gpu_share),
            (
                "memory",
                self.memory_gib,
                self.memory_gib if used.memory_gib is None else used.memory_gib,
            ),
            ("storage", self.storage_gib, self.storage_gib),
        )
        return tuple(
            Demand(
                resource=resource,
                busy=Fraction(at_work) * self.world_size,
                idle=max(Fraction(held) - Fraction(at_work), Fraction(0)) * self.world_size,
            )
            for resource, held, at_work in pairs
            if held > 0 or at_work > 0
        )

    def to_record(self) -> dict[str, str | int]:
        """Gives the request as a JSON object, exact."""
        return {
            "cores": str(self.cores),
            "memory_gib": str(self.memory_gib),
            "gpus": str(self.gpus),
            "gpu_type": self.gpu_type,
            "nodes": self.nodes,
            "processes": self.processes,
            "storage_gib": str(self.storage_gib),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Reads what `to_record` gave."""
        return cls(**_known(cls, record))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of one task: what it held, from when to when, how it was bought, how it ended."""

    task: str
    """Name of the task."""

    number: int
    """Tries of this task before this one, in the same execution."""

    start: datetime
    """First instant that is charged; kept in UTC."""

    end: datetime
    """Instant at which the charge ends; the last sign of life where the attempt was killed."""

    resources: Resources
    """What the attempt held."""

    outcome: Outcome = "succeeded"
    """How it ended: "stopped" left a checkpoint on purpose, "running" has not ended yet."""

    spot: bool = False
    """Whether it really ran on spot capacity."""

    asked: Purchase | None = None
    """How it should have been bought, where somebody said so."""

    priority: str = "normal"
    """Priority whose multiplier applies, as the rate card names it."""

    execution: str = ""
    """Identity of the execution; tells apart attempts of a run that was resumed."""

    last_checkpoint: datetime | None = None
    """When the last state that a later attempt can use was saved."""

    utilisation: Utilisation | None = None
    """What was measured while it ran."""

    def __post_init__(self) -> None:
        """Checks the record and brings its times to UTC."""
        object.__setattr__(self, "number", whole(self.number, field="number", minimum=0))
        for field in ("start", "end"):
            object.__setattr__(self, field, instant(getattr(self, field), field=field))
        saved = instant_or_none(self.last_checkpoint, field="last_checkpoint")
        object.__setattr__(self, "last_checkpoint", saved)
        if self.end < self.start:
            raise ValueError(
                f"end of {self.label} is {self.end.isoformat()}, before its start "
                f"{self.start.isoformat()}; a duration cannot be negative"
            )
        if saved is not None and saved > self.end:
            raise ValueError(
                f"last_checkpoint of {self.label} is {saved.isoformat()}, after its end "
                f"{self.end.isoformat()}; give a time within the attempt"
            )
        _one_of(self.outcome, Outcome, field="outcome")
        if self.asked is not None:
            _one_of(self.asked, Purchase, field="asked")

    @property
    def label(self) -> str:
        """Names the attempt for people."""
        prefix = f"{self.execution}/" if self.execution else ""
        return f"{prefix}{self.task}#{self.number}"

    @property
    def purchase(self) -> Purchase:
        """Says how the attempt was really bought."""
        return "spot" if self.spot else "on-demand"

    @property
    def duration(self) -> timedelta:
        """Measures the attempt's wall time."""
        return self.end - self.start

    @property
    def duration_hours(self) -> Fraction:
        """Measures the attempt's wall time in hours, exactly."""
        return hours(self.start, self.end)

    @property
    def lost_since(self) -> datetime | None:
        """Finds from when on work was lost: after the last checkpoint of one that broke off."""
        if self.outcome not in LOSING_OUTCOMES:
            return None
        return self.start if self.last_checkpoint is None else max(self.start, self.last_checkpoint)

    def to_record(self) -> dict[str, Any]:
        """Gives the attempt as a JSON object: ISO-8601 times, exact amounts as text."""
        saved = self.last_checkpoint
        return {
            "execution": self.execution,
            "task": self.task,
            "number": self.number,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "outcome": self.outcome,
            "spot": self.spot,
            "asked": self.asked,
            "priority": self.priority,
            "last_checkpoint": None if saved is None else saved.isoformat(),
            "resources": self.resources.to_record(),
            "utilisation": None if self.utilisation is None else self.utilisation.to_record(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Reads what `to_record` gave.

        Raises:
            ValueError: A field is missing, unknown or has a value that makes no sense.
        """
        given = _known(cls, record)
        if not isinstance(given.get("spot", False), bool):
            raise ValueError(f"spot is {given['spot']!r}; give true or false")  # noqa: TRY004 - user input
        given["resources"] = Resources.from_record(given["resources"])
        if given.get("utilisation") is not None:
            given["utilisation"] = Utilisation.from_record(given["utilisation"])
        return cls(**given)


def _text(value: Decimal | int | None) -> str | None:
    return None if value is None else str(value)


def _one_of(value: str, choices: object, *, field: str) -> None:
    known = get_args(choices)
    if value not in known:
        raise ValueError(f"{field} is {value!r}; give one of {', '.join(known)}")


def _known(cls: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """Copies a record after checking its field names against the dataclass `cls`."""
    if not isinstance(record, Mapping):
        raise ValueError(f"{cls.__name__.lower()} is {record!r}; give an object with named fields")  # noqa: TRY004 - user input
    declared = {field.name: field for field in fields(cls)}
    unknown = sorted(set(record) - set(declared))
    if unknown:
        raise ValueError(
            f"{cls.__name__.lower()} has the unknown field {unknown[0]!r}; "
            f"it may have {', '.join(declared)}"
        )
    missing = [
        name for name, field in declared.items() if field.default is MISSING and name not in record
    ]
    if missing:
        raise ValueError(f"{cls.__name__.lower()} has no {missing[0]}; add it")
    return cast("dict[str, Any]", dict(record))

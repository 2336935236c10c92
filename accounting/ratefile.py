"""Reading a rate card from YAML, with every complaint naming its line and field.

The file is read as a tree of nodes, so numbers keep the digits that were typed and `22:00` stays a
text.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

import yaml

from accounting.quantities import exact
from accounting.tariff import DAY_MINUTES, WEEKDAYS, Season, Window

Read = TypeVar("Read")


class RateCardError(ValueError):
    """A rate card that cannot be used; the message names its line and field."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value of the file, with the name people know it by."""

    node: yaml.Node
    """The value with its place in the file."""

    path: str
    """Where it stands, such as versions[0].prices.core_hour."""

    file: str
    """Name of the file in complaints."""

    def error(self, wish: str) -> RateCardError:
        """Builds the complaint that this value is not what the card needs."""
        where = f"{self.file}:{self.node.start_mark.line + 1}"
        return RateCardError(f"{where}: {self.path or 'the card'} {wish}")

    @property
    def is_text(self) -> bool:
        """Says whether the value is a plain scalar."""
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_mapping(self) -> bool:
        """Says whether the value has named fields."""
        return isinstance(self.node, yaml.MappingNode)

    def text(self) -> str:
        """Reads a scalar as it was typed."""
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value:
            raise self.error("is empty or no plain value; give one value")
        return str(self.node.value)

    def parsed(self, read: Callable[[str], Read]) -> Read:
        """Reads a scalar with `read`, whose `ValueError` says what it wants."""
        try:
            return read(self.text())
        except RateCardError:
            raise
        except ValueError as error:
            raise self.error(f"is {self.text()!r}; {error}") from error

    def number(self, *, positive: bool = False) -> Decimal:
        """Reads a number of at least 0, or above 0."""

        def read(text: str) -> Decimal:
            try:
                value = exact(text, field="it")
            except ValueError as error:
                raise ValueError("give a number of at least 0, such as 0.05") from error
            if positive and value == 0:
                raise ValueError("give a number above 0")
            return value

        return self.parsed(read)

    def day(self) -> date:
        """Reads a date."""

        def read(text: str) -> date:
            try:
                return date.fromisoformat(text)
            except ValueError as error:
                raise ValueError("give a date such as 2026-03-01") from error

        return self.parsed(read)

    def items(self) -> list["Field"]:
        """Reads a list; a single value counts as a list of one."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        if not self.node.value:
            raise self.error("is an empty list; give at least one entry")
        return [
            Field(node=node, path=f"{self.path}[{index}]", file=self.file)
            for index, node in enumerate(self.node.value)
        ]

    def entries(self) -> dict[str, "Field"]:
        """Reads named values, each name once."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("has no named fields; write it as `name: value` lines")
        found: dict[str, Field] = {}
        for key, node in own_entries(self.node):
            name = str(key.value)
            inner = Field(node=key, path=f"{self.path}.{name}".lstrip("."), file=self.file)
            if name in found:
                raise inner.error("is given twice; keep one of them")
            found[name] = Field(node=node, path=inner.path, file=self.file)
        for name, node in shared_entries(self.node).items():
            path = f"{self.path}.{name}".lstrip(".")
            found.setdefault(name, Field(node=node, path=path, file=self.file))
        return found

    def fields(
        self, *, required: Iterable[str] = (), optional: Iterable[str] = ()
    ) -> dict[str, "Field"]:
        """Reads named values of which the names are known.

        Raises:
            RateCardError: A required one is missing, or one is unknown.
        """
        required, known = tuple(required), (*required, *optional)
        found = self.entries()
        for name, field in found.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it may be {', '.join(known)}"
                raise field.error(f"is no field of a rate card; {hint}")
        for name in required:
            if name not in found:
                raise self.error(f"has no {name}; add it")
        return found


def read_yaml(text: str, *, file: str) -> Field:
    """Parses a file into its root field.

    Raises:
        RateCardError: The text is no YAML.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RateCardError(f"{file}:{line}: no valid YAML: {error.problem}") from error
    if node is None:
        raise RateCardError(f"{file}:1: the card is empty; copy the embedded one and change it")
    return Field(node=node, path="", file=file)


def own_entries(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Lists keys and values written here, without those merged in by `<<`."""
    return [(key, value) for key, value in node.value if key.value != "<<"]


def shared_entries(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """Gathers values that `<<` merges in from elsewhere; the first that has a name wins."""
    found: dict[str, yaml.Node] = {}
    for key, merged_in in node.value:
        if key.value != "<<":
            continue
        several = isinstance(merged_in, yaml.SequenceNode)
        for other in merged_in.value if several else [merged_in]:
            if isinstance(other, yaml.MappingNode):
                own = {str(name.value): value for name, value in own_entries(other)}
                found = {**shared_entries(other), **own, **found}
    return found


def plain(node: yaml.Node) -> Any:
    """Turns a node into plain values as they were typed."""
    if isinstance(node, yaml.MappingNode):
        own = {str(key.value): value for key, value in own_entries(node)}
        return {name: plain(value) for name, value in {**shared_entries(node), **own}.items()}
    if isinstance(node, yaml.SequenceNode):
        return [plain(value) for value in node.value]
    return str(node.value)


def read_window(field: Field) -> Window:
    """Reads one entry of a band's `when`: days and hours, or a span of the week, in a season."""
    entries = field.fields(optional=("days", "hours", "span", "season"))
    season = entries["season"].parsed(_season) if "season" in entries else None
    if "span" in entries:
        if "days" in entries or "hours" in entries:
            raise field.error("has a span beside days or hours; give one or the other")
        start, end = entries["span"].parsed(_span)
        return Window.weekly(start=start, end=end, season=season)
    if not entries:
        raise field.error("is empty; give days, hours, a span or a season")
    days = read_days(entries["days"]) if "days" in entries else tuple(range(7))
    start, end = entries["hours"].parsed(_hours) if "hours" in entries else (0, DAY_MINUTES)
    return Window.daily(days=days, start=start, end=end, season=season)


def read_days(field: Field) -> tuple[int, ...]:
    """Reads weekdays such as `mon-fri` or `[sat, sun]`; Monday is 0."""
    return tuple(dict.fromkeys(day for item in field.items() for day in item.parsed(_days)))


def _weekday(text: str) -> int:
    name = text.strip().lower()[:3]
    if name not in WEEKDAYS:
        raise ValueError(f"give weekdays such as mon-fri or sat (known: {', '.join(WEEKDAYS)})")
    return WEEKDAYS.index(name)


def _days(text: str) -> Iterator[int]:
    first, _, last = text.partition("-")
    start = _weekday(first)
    end = _weekday(last) if last else start
    return (day % 7 for day in range(start, end + 1 if end >= start else end + 8))


def _minute(text: str) -> int:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    minute = int(match[1]) * 60 + int(match[2]) if match else -1
    if match is None or int(match[2]) > 59 or minute > DAY_MINUTES:
        raise ValueError("give times between 00:00 and 24:00, such as 22:00-06:00")
    return minute


def _hours(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    start, end = _minute(first), _minute(last)
    if start == end:
        raise ValueError("it holds no time; for the whole day give 00:00-24:00 or leave hours out")
    return start, end


def _span(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*([a-z]+)\s+([\d:]+)\s*-\s*([a-z]+)\s+([\d:]+)\s*", text.lower())
    if match is None:
        raise ValueError("give a span of the week such as fri 22:00 - mon 06:00")
    start = _weekday(match[1]) * DAY_MINUTES + _minute(match[2])
    end = _weekday(match[3]) * DAY_MINUTES + _minute(match[4])
    if start == end:
        raise ValueError("it holds no time; give two different times")
    return start, end


def _season(text: str) -> Season:
    parts = re.fullmatch(r"\s*(\d\d-\d\d)\s*\.\.\s*(\d\d-\d\d)\s*", text)
    try:
        days = [date.fromisoformat(f"2024-{part}") for part in parts.groups()] if parts else []
    except ValueError:
        days = []
    if len(days) != 2:
        raise ValueError("give first and last day of the season such as 11-01..03-31")
    first, last = days
    return Season(first=(first.month, first.day), last=(last.month, last.day))

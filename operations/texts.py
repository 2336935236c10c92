"""Reading what people type: data, time spans, and names that are nearly right."""

import difflib
import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import yaml

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 with the numbers that people write: 1e-3 is one, though it has no point."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_text(text: str) -> Any:
    """Reads JSON or YAML.

    >>> parse_text("1e-3"), parse_text("{name: adam, betas: [0.9, 0.95]}")
    (0.001, {'name': 'adam', 'betas': [0.9, 0.95]})

    Raises:
        yaml.YAMLError: It is neither.
    """
    try:
        return json.loads(text)  # not all JSON is YAML: astral characters may come in two halves
    except json.JSONDecodeError:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506 - a safe loader


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelled name.

    >>> nearest("epoch", ["epochs", "seed"])
    "; did you mean 'epochs'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(known)}" if known else "; there are none"


def duration(value: Any) -> timedelta:
    """A time span from text such as 90s, 15m, 2h or 1d, or from a number of seconds.

    >>> duration("1.5h")
    datetime.timedelta(seconds=5400)

    Raises:
        ValueError: It is no such text.
    """
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    text = str(value).strip().lower()
    unit = _SECONDS.get(text[-1:])
    try:
        return timedelta(seconds=float(text) if unit is None else float(text[:-1]) * unit)
    except ValueError as error:
        raise ValueError(f"{value!r} is no time span such as 90s, 15m, 2h or 1d") from error

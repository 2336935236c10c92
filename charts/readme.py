# ruff: noqa: INP001 - a script beside the chart, not part of a package
"""Writes the table of values in the chart's README from the comments of values.yaml.

`python charts/readme.py` writes it, with `--check` it says whether the table is up to date.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent / "oppen"
START, END = "<!-- values: written by charts/readme.py -->\n", "<!-- end of values -->\n"
KEY = re.compile(r"^( *)([A-Za-z0-9_.-]+):")


def documented(text: str) -> Iterator[tuple[str, str]]:
    """Path and comment of each key of a values file that has a comment right above it."""
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        if match := KEY.match(line):
            indent = len(match[1])
            parents = [(depth, key) for depth, key in parents if depth < indent]
            parents.append((indent, match[2]))
            if comment:
                yield ".".join(key for _, key in parents), " ".join(comment)
        comment = []


def table(text: str) -> str:
    """The Markdown table of all documented values with their defaults."""
    values = yaml.safe_load(text)
    rows = ["| value | default | what it does |", "|---|---|---|"]
    for path, comment in documented(text):
        default = reduce(_step, path.split("."), values)
        rows.append(f"| `{path}` | `{json.dumps(default)}` | {comment.replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def _step(node: Any, key: str) -> Any:
    return node[key]


def renew(readme: str, values: str) -> str:
    """The README with its table renewed."""
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return f"{before}{START}{table(values)}{END}{after}"


def main(arguments: list[str]) -> int:
    """Writes, or with --check compares."""
    path = CHART / "README.md"
    old = path.read_text(encoding="utf-8")
    new = renew(old, (CHART / "values.yaml").read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        print("up to date" if old == new else "charts/oppen/README.md is old: charts/readme.py")
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A report as plain text, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from accounting.report import Report, Row

COLUMNS = (
    "dimension",
    "name",
    "runs",
    "usd",
    "average_usd",
    "lost_usd",
    "idle_usd",
    "seconds",
    "change",
)


def to_records(report: Report) -> list[dict[str, Any]]:
    """Lists every row of a report with exact amounts as text; `None` is what cannot be told."""
    return [
        {
            "dimension": dimension,
            "name": row.name,
            "runs": row.runs,
            "usd": str(row.usd),
            "average_usd": _text(row.average_usd, places=6),
            "lost_usd": _text(row.lost_usd),
            "idle_usd": _text(row.idle_usd),
            "seconds": _text(row.seconds),
            "change": change,
        }
        for dimension, row, change in _rows(report)
    ]


def to_csv(report: Report) -> str:
    """Writes one line per row under a header; what cannot be told is left empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_records(report))
    return out.getvalue()


def to_json(report: Report) -> str:
    """Writes the report as one JSON object: range, total, trend, groups and dearest runs."""
    records = to_records(report)
    groups = {
        dimension: [r for r in records if r["dimension"] == dimension]
        for dimension in report.groups
    }
    content = {
        "currency": "USD",
        "start": report.start.isoformat(),
        "end": report.end.isoformat(),
        "period": report.period,
        "total": records[0],
        "periods": [r for r in records if r["dimension"] == report.period],
        "groups": groups,
        "dearest": [
            {"run_id": run.run_id, "usd": str(run.usd), "start": run.start.isoformat()}
            for run in report.dearest
        ],
    }
    return json.dumps(content, indent=2)


def to_table(report: Report) -> str:
    """Writes the report as aligned plain text, one block per dimension."""
    lines = [f"Cost from {report.start:%Y-%m-%d %H:%M %Z} to {report.end:%Y-%m-%d %H:%M %Z}"]
    blocks: dict[str, list[tuple[str, ...]]] = {}
    for dimension, row, change in _rows(report):
        blocks.setdefault(dimension, []).append(
            (
                row.name,
                str(row.runs),
                money(row.usd),
                money(row.average_usd),
                percent(row.lost_share),
                percent(row.idle_share),
                signed(change) if dimension == report.period else "",
            )
        )
    head = ("runs", "USD", "USD/run", "lost", "idle", "change")
    tables = [[(dimension, *head), *block] for dimension, block in blocks.items()]
    every = [cells for table in tables for cells in table]
    widths = [max(len(cells[i]) for cells in every) for i in range(len(head) + 1)]
    for table in tables:
        lines += ["", *(_aligned(cells, widths) for cells in table)]
    return "\n".join(lines) + "\n"


def money(amount: Decimal | None) -> str:
    """Shows dollars with two places, or four below ten cents; "-" where there is none.

    >>> money(Decimal("1234.5")), money(Decimal("0.026675")), money(None)
    ('1,234.50', '0.0267', '-')
    """
    if amount is None:
        return "-"
    return f"{amount:,.2f}" if amount >= Decimal("0.1") or not amount else f"{amount:,.4f}"


def percent(share: float | None) -> str:
    """Shows a share with one place; "-" where it cannot be told."""
    return "-" if share is None else f"{share:.1%}"


def signed(share: float | None) -> str:
    """Shows a change with its sign; "-" where there is nothing to compare with."""
    return "-" if share is None else f"{share:+.1%}"


def _rows(report: Report) -> Iterator[tuple[str, Row, float | None]]:
    """Every row with its dimension and, in the trend, its change."""
    yield "total", report.total, None
    for position, row in enumerate(report.periods):
        yield report.period, row, report.change(position)
    for dimension, rows in report.groups.items():
        for row in rows:
            yield dimension, row, None


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()


def _text(amount: Decimal | None, *, places: int | None = None) -> str | None:
    if amount is None:
        return None
    return str(amount if places is None else round(amount, places))

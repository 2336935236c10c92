"""A bill as an HTML fragment with its chart: inline style and SVG, no script, no network."""

from collections.abc import Iterable, Sequence
from html import escape

from accounting.bill import Bill
from accounting.figures import STYLE as CHART_STYLE
from accounting.figures import Column, columns

STYLE = """
.bill{font:14px/1.5 system-ui,sans-serif;max-width:52rem}
.bill table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4rem 0 1.2rem}
.bill th,.bill td{padding:.25rem .7rem;border-bottom:1px solid #8884;text-align:right}
.bill th:first-child,.bill td:first-child{text-align:left}
"""


def bill_html(bill: Bill) -> str:
    """Draws what each attempt cost, and lists it by resource, band and purchase.

    The second colour of a column is the part that paid for lost work.
    """
    costs, lost = bill.by_attempt, {a.label: 0.0 for a in bill.attempts}
    for line in bill.lines:
        lost[line.attempt.label] += float(line.lost_cost_usd)
    bars = [
        Column(name=label, value=float(usd), part=lost[label], title=f"{label}: {usd} USD")
        for label, usd in costs.items()
    ]
    total = (
        f"<h3>{bill.total_cost_usd} USD for {float(bill.duration_seconds):,.1f} s</h3>"
        f"<p>Lost to broken attempts: {bill.lost_cost_usd} USD. "
        f"Idle while held: {bill.idle_cost_usd} USD.</p>"
    )
    asked = [f"{a.label} asked for {a.asked}, was {a.purchase}" for a in bill.surprises]
    surprises = f"<p>{escape('; '.join(asked))}</p>" if asked else ""
    chart = columns(bars, y_name="USD", legend=("cost", "of which lost")) if bars else ""
    attempts = _table(
        ("attempt", "outcome", "bought", "seconds", "USD"),
        (
            (
                a.label,
                a.outcome,
                a.purchase,
                f"{a.duration.total_seconds():,.1f}",
                str(costs[a.label]),
            )
            for a in bill.attempts
        ),
    )
    splits = [
        _table((name, "USD"), ((str(key), str(usd)) for key, usd in parts.items()))
        for name, parts in (
            ("resource", bill.by_resource),
            ("band", bill.by_band),
            ("bought", bill.by_purchase),
        )
    ]
    return (
        f"<style>{STYLE}{CHART_STYLE}</style>"
        f'<div class="bill">{total}{surprises}{chart}{attempts}{"".join(splits)}</div>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"

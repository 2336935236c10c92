"""A report as one HTML page that needs nothing else: inline style, inline SVG, no script."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

from accounting.compare import Comparison
from accounting.figures import Column, Point, columns, scatter
from accounting.report import Report, Row
from accounting.report_text import money, percent, signed
from accounting.run_record import RunRecord

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#57606a;--paper:#fff;--panel:#f6f8fa;
--rule:#d8dee4;--bar:#2563a8}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--paper:#0d1117;
--panel:#161b22;--rule:#30363d;--bar:#6cb0f5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:2rem 1.25rem;font:15px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
p{color:var(--soft);margin:.2rem 0 1.4rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.8rem}
.card{background:var(--panel);border:1px solid var(--rule);border-radius:.5rem;padding:.8rem 1rem}
.card b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:500;font-size:.85rem}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
td.share{width:9rem}td.share i{display:block;height:.6rem;border-radius:.2rem;background:var(--bar)}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem}
"""


def to_html(report: Report, *, comparison: Comparison | None = None) -> str:
    """Writes the report, and a comparison if there is one, as a whole page."""
    total = report.total
    span = f"{report.start:%d %B %Y %H:%M} to {report.end:%d %B %Y %H:%M} ({report.start:%Z})"
    cards = [
        ("total", f"{money(total.usd)} USD"),
        ("runs", f"{total.runs:,}"),
        ("average per run", f"{money(total.average_usd)} USD"),
        ("lost to broken attempts", percent(total.lost_share)),
        ("idle while held", percent(total.idle_share)),
    ]
    body = [
        f"<h1>What training cost</h1><p>{escape(span)}</p>",
        '<div class="cards">',
        *(f'<div class="card"><b>{value}</b><span>{name}</span></div>' for name, value in cards),
        "</div>",
        f"<h2>By {report.period}</h2>",
        _trend_chart(report),
        _trend_table(report),
    ]
    for dimension, rows in report.groups.items():
        body += [f"<h2>By {escape(dimension)}</h2>", _group_table(dimension, rows, total.usd)]
    if report.dearest:
        body += ["<h2>Most expensive runs</h2>", _dearest_table(report.dearest)]
    if comparison is not None:
        body += [f"<h2>Cost against {escape(comparison.metric)}</h2>", _comparison(comparison)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>What training cost</title><style>{STYLE}</style></head><body>"
        f"{''.join(body)}"
        "<footer>Each table adds up to the total; a run belongs to the period in which it began. "
        "Lost and idle are parts of the cost, not on top of it.</footer></body></html>\n"
    )


def _trend_chart(report: Report) -> str:
    bars = [
        Column(
            name=row.name,
            value=float(row.usd),
            part=float(row.lost_usd or 0),
            title=f"{row.name}: {money(row.usd)} USD, {percent(row.lost_share)} lost",
        )
        for row in report.periods
    ]
    return columns(bars, y_name="USD", legend=("cost", "of it lost"))


def _trend_table(report: Report) -> str:
    rows = [
        [*_cells(row), signed(report.change(position))]
        for position, row in enumerate(report.periods)
    ]
    return _table([report.period, *HEAD, "change"], rows)


def _group_table(dimension: str, rows: Sequence[Row], total: Decimal) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (dimension, *HEAD, "share"))
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row))}"
        f'<td class="share" title="{_of(row.usd, total):.1%}">'
        f'<i style="width:{_of(row.usd, total):.1%}"></i></td></tr>'
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'


def _dearest_table(runs: Iterable[RunRecord]) -> str:
    rows = [
        [
            run.run_id,
            run.experiment or "-",
            run.model or "-",
            f"{run.start:%Y-%m-%d %H:%M}",
            f"{float(run.seconds) / 3600:.2f}",
            money(run.usd),
        ]
        for run in runs
    ]
    return _table(["run", "experiment", "model", "start (UTC)", "hours", "USD"], rows)


def _comparison(comparison: Comparison) -> str:
    kept = comparison.front
    points = [
        Point(
            x=float(c.average_usd),
            y=c.quality,
            title=f"{c.name}: {money(c.average_usd)} USD, {c.quality:.4g}",
            label=c.name if c in kept else "",
            faint=c not in kept,
        )
        for c in comparison.configurations
    ]
    chart = scatter(
        points, x_name="USD per run", y_name=comparison.metric, joined=True, from_zero=False
    )
    head = ["configuration", "runs", "USD/run", comparison.metric, "beaten by"]
    rows = [
        [c.name, str(c.runs), money(c.average_usd), _quality(c.quality, c.spread), c.dominated_by]
        for c in comparison.configurations
    ]
    return chart + _table(head, [[cell or "-" for cell in row] for row in rows])


HEAD = ("runs", "USD", "USD/run", "lost", "idle")


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        f"{row.runs:,}",
        money(row.usd),
        money(row.average_usd),
        percent(row.lost_share),
        percent(row.idle_share),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{lines}</table></div>'


def _of(part: Decimal, whole: Decimal) -> float:
    return float(part / whole) if whole else 0.0


def _quality(mean: float, spread: float | None) -> str:
    return f"{mean:.4g}" if spread is None else f"{mean:.4g} ± {spread:.2g}"

"""Small charts as self-contained SVG text: no script, no font, light and dark by the viewer."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48
STYLE = """
.chart{font:12px system-ui,sans-serif;width:100%;max-width:60rem;height:auto}
.chart text{fill:#57606a}.chart .strong{fill:#1f2328;font-weight:600}
.chart .grid{stroke:#d8dee4}.chart .first{fill:#2563a8}.chart .second{fill:#d9822b}
.chart .line{fill:none;stroke:#8c959f;stroke-width:1.5;stroke-dasharray:4 3}
.chart .faint{opacity:.35}
@media(prefers-color-scheme:dark){.chart text{fill:#9da7b3}.chart .strong{fill:#e6edf3}
.chart .grid{stroke:#30363d}.chart .first{fill:#6cb0f5}.chart .second{fill:#f0a55a}}
"""

Kind = Literal["first", "second"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mark of a scatter chart."""

    x: float
    """Position to the right, in units of the axis."""
    y: float
    """Position up, in units of the axis."""
    title: str
    """What the viewer reads when pointing at it."""
    label: str = ""
    """What is written beside it."""
    kind: Kind = "first"
    """Its colour and shape: a circle or a square."""
    faint: bool = False
    """Whether it stands back."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a column chart."""

    name: str
    """What is written under it."""
    value: float
    """Its height."""
    part: float = 0.0
    """Height of the part shown in the second colour, at its foot."""
    title: str = ""
    """What the viewer reads when pointing at it."""


def scatter(
    points: Sequence[Point],
    *,
    x_name: str,
    y_name: str,
    legend: tuple[str, str] | None = None,
    joined: bool = False,
    from_zero: bool = True,
) -> str:
    """Draws marks; `joined` links those that are not faint by a dashed line, in the given order."""
    x_ticks = ticks(min(p.x for p in points), max(p.x for p in points))
    heights = [point.y for point in points]
    y_ticks = ticks(min(0.0, *heights) if from_zero else min(heights), max(heights))

    def across(x: float) -> float:
        return LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return _up(y, y_ticks)

    parts = _rows(y_ticks)
    for tick in x_ticks:
        x = across(tick)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 28}" text-anchor="middle">{tick:g}</text>')
    if joined:
        line = " ".join(f"{across(p.x):.1f},{up(p.y):.1f}" for p in points if not p.faint)
        parts.append(f'<polyline class="line" points="{line}"/>')
    for point in sorted(points, key=lambda point: not point.faint):
        parts.append(_mark(point, across(point.x), up(point.y)))
    parts.append(
        f'<text class="strong" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">'
        f"{escape(x_name)}</text>"
    )
    return _svg(parts, y_name, legend)


def columns(bars: Sequence[Column], *, y_name: str, legend: tuple[str, str] | None = None) -> str:
    """Draws columns from zero, with a part of each in the second colour."""
    y_ticks = ticks(0.0, max((bar.value for bar in bars), default=0.0))
    parts = _rows(y_ticks)
    pitch = (WIDTH - LEFT - RIGHT) / max(len(bars), 1)
    width = min(pitch * 0.7, 72)
    every = ceil(len(bars) * 64 / (WIDTH - LEFT - RIGHT)) or 1
    for i, bar in enumerate(bars):
        x = LEFT + pitch * (i + 0.5) - width / 2
        base, top, foot = (_up(value, y_ticks) for value in (0.0, bar.value, bar.part))
        title = escape(bar.title or f"{bar.name}: {bar.value:g}")
        parts.append(
            f"<g><title>{title}</title>"
            f'<rect class="first" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{base - top:.1f}" rx="2"/>'
            f'<rect class="second" x="{x:.1f}" y="{foot:.1f}" width="{width:.1f}" '
            f'height="{base - foot:.1f}"/></g>'
        )
        if i % every == 0:
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{HEIGHT - 28}" text-anchor="middle">'
                f"{escape(bar.name)}</text>"
            )
    return _svg(parts, y_name, legend)


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers that span a range.

    >>> ticks(0, 9)
    [0, 2, 4, 6, 8, 10]
    """
    spread = high - low or abs(high) or 1.0
    power = 10 ** floor(log10(spread / count))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if spread / (power * m) <= count)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _up(y: float, y_ticks: Sequence[float]) -> float:
    share = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _rows(y_ticks: Sequence[float]) -> list[str]:
    rows = []
    for tick in y_ticks:
        y = _up(tick, y_ticks)
        rows.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    return rows


def _mark(point: Point, x: float, y: float) -> str:
    look = f'class="{point.kind}{" faint" if point.faint else ""}"'
    shape = (
        f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        if point.kind == "first"
        else f'<rect {look} x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    )
    beside = x > WIDTH * 0.8
    label = (
        f'<text x="{x - 9 if beside else x + 9:.1f}" y="{y - 7:.1f}" '
        f'text-anchor="{"end" if beside else "start"}">{escape(point.label)}</text>'
        if point.label
        else ""
    )
    return f"<g><title>{escape(point.title)}</title>{shape}{label}</g>"


def _svg(parts: Sequence[str], y_name: str, legend: tuple[str, str] | None) -> str:
    keys = ""
    for i, (kind, name) in enumerate(zip(("first", "second"), legend or (), strict=False)):
        x = WIDTH - RIGHT - 170 * (2 - i)
        keys += (
            f'<rect class="{kind}" x="{x}" y="{-14}" width="10" height="10" rx="2"/>'
            f'<text x="{x + 16}" y="-5">{escape(name)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'viewBox="0 -24 {WIDTH} {HEIGHT + 24}" width="{WIDTH}" aria-label="{escape(y_name)}">'
        f"<style>{STYLE}</style>"
        f'<text class="strong" x="{LEFT}" y="-5">{escape(y_name)}</text>'
        f"{keys}{''.join(parts)}</svg>"
    )

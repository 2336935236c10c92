"""The front of a plan as a picture: when each option ends against what it costs."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from accounting.figures import Point, scatter
from accounting.plan import Plan


def front_svg(plan: Plan, *, zone: ZoneInfo) -> str:
    """Draws the front as one self-contained SVG; hours count from the first start.

    Circles are on-demand, squares spot. The cheapest option, the first to end and the named windows
    carry a label.
    """
    options = list(plan.front)
    first = min(option.start for option in (*options, *plan.choices.values()))
    names: dict[object, str] = {}
    for name, option in plan.choices.items():
        names.setdefault(option, name)
    names.setdefault(options[0], "soonest")
    points = []
    shown = [*options, *(o for o in plan.choices.values() if o not in options)]
    for option in shown:
        workers = f"{option.workers} worker{'s' if option.workers > 1 else ''}"
        start, end = (f"{at.astimezone(zone):%a %d %b %H:%M}" for at in (option.start, option.end))
        points.append(
            Point(
                x=(option.end - first) / timedelta(hours=1),
                y=float(option.usd),
                title=f"{start} to {end}, {workers}, {option.purchase}: {option.cost_usd} USD",
                label=names.get(option, ""),
                kind="second" if option.purchase == "spot" else "first",
                faint=option not in options,
            )
        )
    return scatter(
        points,
        x_name="hours until the expected end",
        y_name="USD",
        legend=("on-demand", "spot"),
        joined=True,
    )

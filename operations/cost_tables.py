"""How answers about cost look on a terminal."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from accounting.bill import RESOURCES, Bill
from accounting.rates import RateCard

if TYPE_CHECKING:
    from accounting.advice import Advice
    from accounting.compare import Comparison
    from accounting.forecast import Forecast
    from accounting.plan import Plan

UNITS = {"cpu": "core-hours", "gpu": "GPU-hours", "memory": "GiB-hours", "storage": "GiB-hours"}


def print_bill(bill: Bill, *, title: str) -> None:
    """Prints a bill by resource, band, purchase and attempt, and what of it was lost or idle."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("resource", footer="total")
    table.add_column("used", justify="right", footer=f"{bill.duration_seconds} s")
    table.add_column("USD", justify="right", footer=str(bill.total_cost_usd))
    for resource in RESOURCES:
        units = sum((line.unit_hours for line in bill.lines if line.resource == resource), 0)
        if units:
            used = f"{float(units):,.4f} {UNITS[resource]}"
            table.add_row(resource, used, str(bill.by_resource[resource]))
    console = Console()
    console.print(table)
    _print_split(console, "of which lost work", bill.lost_cost_usd)
    _print_split(console, "of which idle", bill.idle_cost_usd)
    for name, parts in (
        ("by band", bill.by_band),
        ("by purchase", bill.by_purchase),
        ("by attempt", bill.by_attempt),
    ):
        if len(parts) > 1 or name == "by band":
            console.print(f"{name}: {_joined(parts)}", highlight=False)
    for attempt in bill.surprises:
        console.print(f"{attempt.label} was asked {attempt.asked}, but ran {attempt.purchase}")
    console.print(f"rates {bill.card_digest[:12]}", style="dim", highlight=False)


def card_facts(card: RateCard, at: datetime) -> dict[str, Any]:
    """Gives what a card says at an instant as a JSON object."""
    rates = card.rates_at(at)
    band = card.band_at(at)
    return {
        "name": card.name,
        "digest": card.digest,
        "currency": card.currency,
        "timezone": str(card.zone),
        "versions": [version.effective.isoformat() for version in card.versions],
        "at": at.isoformat(),
        "effective": rates.effective.isoformat(),
        "band": band.name,
        "multiplier": str(_decimal(band.multiplier)),
        "until": _band_end(card, at).isoformat(),
        "bands": {b.name: str(_decimal(b.multiplier)) for b in rates.tariff.bands},
        "spot": str(_decimal(rates.spot)),
        "priorities": {name: str(_decimal(f)) for name, f in rates.priorities.items()},
        "prices": [
            {
                "field": quote.field,
                "amount": str(quote.amount),
                "source": quote.source,
                "date": quote.date.isoformat(),
            }
            for quote in rates.quotes
        ],
    }


def print_card(card: RateCard, at: datetime) -> None:
    """Prints the rates in force at an instant, with source and date of each price."""
    from rich.console import Console
    from rich.table import Table

    facts, rates = card_facts(card, at), card.rates_at(at)
    table = Table(title=f"{card.name} ({card.currency}, {card.zone})", title_justify="left")
    for column in ("price", "amount", "source", "date"):
        table.add_column(column, justify="right" if column == "amount" else "left")
    for quote in rates.quotes:
        table.add_row(_short(quote.field), str(quote.amount), quote.source, str(quote.date))
    console = Console()
    console.print(table)
    console.print(
        f"now: {facts['band']} x{facts['multiplier']} until {facts['until']}, "
        f"rates effective {facts['effective']}",
        highlight=False,
    )
    console.print(f"bands: {_factors(facts['bands'])}", highlight=False)
    console.print(f"spot x{facts['spot']}, priority {_factors(facts['priorities'])}")
    console.print(f"digest {card.digest[:12]}", style="dim", highlight=False)


def _band_end(card: RateCard, at: datetime) -> datetime:
    """Finds when the price next changes, within eight days."""
    horizon = at + timedelta(days=8)
    first = next(iter(card.spans(at, horizon)))
    return first.end


def _short(field: str) -> str:
    return field.split(".", maxsplit=1)[-1]


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


def _factors(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} x{factor}" for name, factor in parts.items())


def _joined(parts: Mapping[Any, Decimal]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in parts.items())


def _print_split(console: Any, name: str, amount: Decimal) -> None:
    if amount:
        console.print(f"{name}: {amount} USD", highlight=False)


def print_forecast(found: "Forecast", *, fits: bool | None) -> None:
    """Prints a forecast: seconds, end and cost, with their intervals."""
    from rich.console import Console
    from rich.table import Table

    time = found.time
    table = Table(
        title=f"Forecast of {time.remaining_steps} steps ({time.level:.0%} interval)",
        title_justify="left",
    )
    for column in ("", "low", "expected", "high"):
        table.add_column(column, justify="right")
    seconds = (time.low_seconds, time.expected_seconds, time.high_seconds)
    table.add_row("seconds", *(f"{value:,.1f}" for value in seconds))
    ends = (found.low_end, found.expected_end, found.high_end)
    table.add_row("end, UTC", *(f"{end:%Y-%m-%d %H:%M}" for end in ends))
    table.add_row("USD", str(found.low_usd), str(found.expected_usd), str(found.high_usd))
    console = Console()
    console.print(table)
    if found.spent_usd:
        console.print(f"spent before: {found.spent_usd} USD", highlight=False)
    if fits is not None:
        console.print("fits" if fits else "does not fit", style="bold")
    _print_notes(console, time.assumptions)


def print_advice(found: "Advice") -> None:
    """Prints recommendations, the largest saving first, and what the best of them save together."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"The run cost {found.cost_usd} USD", title_justify="left")
    for column in ("strategy", "saving", "USD", "confidence", "what to do, if what holds"):
        table.add_column(column, justify="right" if column in {"saving", "USD"} else "left")
    for one in found.recommendations:
        saving = "" if one.saving is None else f"{one.saving:.1%}"
        usd = found.saving_usd(one.strategy)
        what = f"{one.action}; {one.assumption}" if one.assumption else one.action
        table.add_row(
            one.strategy, saving, "" if usd is None else str(usd), one.confidence or "", what
        )
    console = Console()
    console.print(table)
    if found.combined:
        console.print(
            f"together ({', '.join(found.combined)}): {found.combined_saving:.1%}, "
            f"{found.combined_saving_usd} USD",
            highlight=False,
        )


def print_plan(found: "Plan") -> None:
    """Prints the choices of a plan, and its front of end against cost."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, rows in (
        ("Cheapest starts", list(found.choices.items())),
        ("Nothing ends earlier for less", [("", option) for option in found.front]),
    ):
        table = Table(title=title, title_justify="left")
        for column in ("", "start, UTC", "end, UTC", "USD", "bought", "workers", "lost s"):
            table.add_column(column, justify="right" if column in {"USD", "workers"} else "left")
        for name, option in rows:
            table.add_row(
                name,
                f"{option.start:%a %m-%d %H:%M}",
                f"{option.end:%a %m-%d %H:%M}",
                str(option.cost_usd),
                option.purchase,
                str(option.workers),
                f"{option.lost_seconds:.0f}",
            )
        console.print(table)
    for name, reason in found.absent.items():
        console.print(f"{name}: {reason}", highlight=False)
    _print_notes(console, found.assumptions)


def _print_notes(console: Any, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"- {note}", style="dim", highlight=False)


def print_comparison(found: "Comparison") -> None:
    """Prints configurations, the cheapest first, and which of them another one beats."""
    from rich.console import Console
    from rich.table import Table

    better = "higher" if found.higher_is_better else "lower"
    table = Table(title=f"{found.metric} ({better} is better) against cost", title_justify="left")
    for column in ("configuration", "runs", "USD/run", found.metric, "beaten by"):
        table.add_column(
            column, justify="left" if column in {"configuration", "beaten by"} else "right"
        )
    for one in found.configurations:
        spread = "" if one.spread is None else f" ± {one.spread:.2g}"
        table.add_row(
            one.name,
            str(one.runs),
            f"{one.average_usd:.6f}",
            f"{one.quality:.4g}{spread}",
            one.dominated_by or "",
            style="dim" if one.dominated_by else None,
        )
    console = Console()
    console.print(table)
    if found.left_out:
        console.print(f"{found.left_out} runs without {found.metric} are left out")

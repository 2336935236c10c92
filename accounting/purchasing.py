"""Ways to pay less for the same work: when it runs, how it is bought, what it asks for."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, isfinite

from accounting.advice import Recommendation
from accounting.curve import PriceCurve
from accounting.job import Variant
from accounting.rates import hourly_usd
from accounting.run_data import RunData
from accounting.speed import PEAK_TFLOP_PER_SECOND
from accounting.usage import Resources

CORE_HEADROOM = Decimal("1.5")
"""Cores asked for over the mean at work, since a mean hides bursts."""
MEMORY_HEADROOM = Decimal("1.2")
"""Memory asked for over the measured peak."""


def cheaper_window(run: RunData) -> Recommendation:
    """The same work at the cheapest start within the wait, over the same tariff."""
    name = "cheaper window"
    first = min(run.attempts, key=lambda attempt: attempt.start)
    length = timedelta(seconds=run.seconds)
    if not length:
        return Recommendation.absent(name, "the run took no time")
    variant = _bought(run, length, spot=run.last.spot, last_start=first.start + run.wait)
    starts = variant.corners(first.start, first.start + run.wait)
    asked = variant.at(first.start)
    best = min((variant.at(start) for start in starts), key=lambda o: (o.usd, o.start))
    local = best.start.astimezone(run.card.zone)
    return Recommendation.worth(
        name,
        float(1 - best.usd / asked.usd) if asked.usd else 0.0,
        action=f"start {(best.start - asked.start) / timedelta(hours=1):.1f} h later, at "
        f"{local:%a %Y-%m-%d %H:%M %Z}",
        assumption="the run takes as long then and capacity is free",
        confidence="high",
        levers={"start"},
    )


def spot(run: RunData) -> Recommendation:
    """Spot capacity, with the time that preemption is expected to cost."""
    name = "spot"
    if all(attempt.spot for attempt in run.attempts):
        return Recommendation.absent(name, "the run already uses spot capacity")
    if run.preemption is None:
        return Recommendation.absent(name, "needs a preemption rate and the checkpoint interval")
    seconds = run.preemption.expected_seconds(run.seconds, workers=run.resources.nodes)
    if not isfinite(seconds):
        return Recommendation.absent(name, "at this preemption rate the run would never end")
    first = min(run.attempts, key=lambda attempt: attempt.start)
    asked = _bought(run, timedelta(seconds=run.seconds), spot=False, last_start=first.start)
    bought = _bought(run, timedelta(seconds=seconds), spot=True, last_start=first.start)
    full = asked.at(first.start).usd
    return Recommendation.worth(
        name,
        float(1 - bought.at(first.start).usd / full) if full else 0.0,
        action=f"buy spot: {seconds - run.seconds:.0f} s of preemption loss expected on top of "
        f"{run.seconds:.0f} s",
        assumption=f"{run.preemption.per_hour:.3g} preemptions per worker-hour "
        f"({run.preemption.source}), a checkpoint every {run.preemption.checkpoint_seconds:.0f} s",
        confidence="medium" if run.preemption.source != "stated" else "low",
        levers={"purchase"},
    )


def right_size(run: RunData) -> Recommendation:
    """Cores and memory nearer to what was at work, with headroom."""
    name = "right-size cores and memory"
    used = run.utilisation
    if used.busy_cores is None and used.memory_gib is None:
        return Recommendation.absent(name, "needs measured cores or memory at work")
    held = run.resources
    cores, memory = held.cores, held.memory_gib
    if used.busy_cores is not None:
        cores = min(cores, max(Decimal(1), Decimal(ceil(used.busy_cores * CORE_HEADROOM))))
    if used.memory_gib is not None:
        memory = min(memory, max(Decimal(1), Decimal(ceil(used.memory_gib * MEMORY_HEADROOM))))
    smaller = replace(held, cores=cores, memory_gib=memory)
    return Recommendation.worth(
        name,
        1 - _price_ratio(run, smaller),
        action=f"ask for {cores} cores and {memory} GiB instead of {held.cores} and "
        f"{held.memory_gib}",
        assumption=f"{CORE_HEADROOM} times the mean cores and {MEMORY_HEADROOM} times the peak "
        "memory suffice, so no step gets slower",
        confidence="medium",
        levers={"cores and memory"},
    )


def right_size_gpu(run: RunData) -> Recommendation:
    """The GPU of the card on which the run would cost least, given how busy its own was."""
    name = "right-size GPU"
    used, held = run.utilisation, run.resources
    if not held.gpus or used.gpu_busy is None:
        return Recommendation.absent(name, "needs a GPU and its measured busy share")
    speeds = PEAK_TFLOP_PER_SECOND
    priced = run.card.rates_at(run.last.start).gpus
    others = [gpu for gpu in priced if gpu in speeds and gpu not in ("generic", held.gpu_type)]
    if held.gpu_type == "generic" or held.gpu_type not in speeds or not others:
        return Recommendation.absent(name, "needs the GPU's type and another type in the rate card")
    busy = float(used.gpu_busy)
    best, ratio, slower = held.gpu_type, 1.0, 1.0
    for gpu in others:
        time = 1 - busy + busy * speeds[held.gpu_type] / speeds[gpu]
        found = time * _price_ratio(run, replace(held, gpu_type=gpu))
        if found < ratio:
            best, ratio, slower = gpu, found, time
    return Recommendation.worth(
        name,
        1 - ratio,
        action=f"use {best} instead of {held.gpu_type}; the run takes {slower:.2g} times as long",
        assumption=f"the {busy:.0%} of the time that the GPU worked scales with peak speed, the "
        "rest stays, and the model fits its memory",
        confidence="low",
        levers={"gpu", "step time"},
    )


def _bought(run: RunData, length: timedelta, *, spot: bool, last_start: datetime) -> Variant:
    """The run's resources for so long, priced from its first start to a last one."""
    first = min(attempt.start for attempt in run.attempts)
    curve = PriceCurve.of(
        run.card,
        run.resources,
        start=first,
        end=last_start + length,
        spot=spot,
        priority=run.last.priority,
    )
    return Variant(
        purchase="spot" if spot else "on-demand",
        workers=run.resources.nodes,
        length=length,
        lost_seconds=0.0,
        curve=curve,
    )


def _price_ratio(run: RunData, other: Resources) -> float:
    """Price of other resources over those of the run, all attempts at the rates in force then."""
    price, cheaper = Fraction(0), Fraction(0)
    for attempt in run.attempts:
        spot, priority = attempt.spot, attempt.priority
        for span in run.card.spans(attempt.start, attempt.end):
            time = (span.end - span.start) // timedelta(microseconds=1)
            price += time * hourly_usd(span, attempt.resources, spot=spot, priority=priority)
            cheaper += time * hourly_usd(span, other, spot=spot, priority=priority)
    return float(cheaper / price) if price else 1.0

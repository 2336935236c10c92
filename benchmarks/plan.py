"""Times the pricing of 10,000 candidate starts, beside billing each of them line by line.

    python benchmarks/plan.py

Both sides price the same attempt of two hours and a half on 4 cores and 1 GPU, at starts spread
over a week, and must agree to the last digit. The best of five rounds counts.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from accounting.bill import estimate
from accounting.job import Job, price_starts, variants
from accounting.plan import plan
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.scaling import NETWORKS, ScalingModel
from accounting.usage import Resources

STARTS = 10_000
ROUNDS = 5
NOW = datetime(2026, 3, 25, 9, tzinfo=UTC)
WEEK = timedelta(days=7)
RESOURCES = Resources(cores=4, gpus=1)
JOB = Job(steps=9_000, step_seconds=1.0, resources=RESOURCES)


def main() -> None:
    """Prints one line per way of pricing, and the time of a whole plan."""
    card = RateCard.load()
    starts = [NOW + i * WEEK / STARTS for i in range(STARTS)]

    def by_curve() -> list[Fraction]:
        (way,) = variants(JOB, card=card, now=NOW, last_start=NOW + WEEK)
        return [option.usd for option in price_starts(way, starts)]

    def by_bill() -> list[Fraction]:
        return [estimate(RESOURCES, card, start=start, seconds=9_000).usd for start in starts]

    def whole_plan() -> list[Fraction]:
        job = Job(
            steps=9_000,
            step_seconds=1.0,
            resources=RESOURCES,
            scaling=ScalingModel(compute_seconds=1, payload_bytes=6e5, network=NETWORKS["1gbe"]),
        )
        spot = Preemption(per_hour=0.05, checkpoint_seconds=600, restart_seconds=120)
        found = plan(job, card=card, now=NOW, workers=range(1, 9), preemption=spot)
        return [option.usd for option in found.front]

    curve_seconds, curve = _best(by_curve, ROUNDS)
    bill_seconds, billed = _best(by_bill, 1)
    plan_seconds, front = _best(whole_plan, ROUNDS)
    assert curve == billed, "the curve and the bill differ"
    print(f"{STARTS:,} starts by the curve   {curve_seconds:8.3f} s  (best of {ROUNDS})")
    print(f"{STARTS:,} starts bill by bill   {bill_seconds:8.3f} s  (one round)")
    print(f"exact plan, 16 variants     {plan_seconds:8.3f} s  ({len(front)} options on the front)")
    assert curve_seconds < 1, "10,000 candidate starts take a second or more"


def _best(work: Callable[[], list[Fraction]], rounds: int) -> tuple[float, list[Fraction]]:
    """Runs `work` several times; gives the shortest time and the last result."""
    times, result = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


if __name__ == "__main__":
    main()

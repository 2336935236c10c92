"""Ways to spend less on a run, each with the saving computed from the run's own data.

Nothing here is a fixed percentage. Where the data a way needs are missing, the recommendation says
which, instead of guessing.
"""

from accounting.advice import Advice, Recommendation, combine
from accounting.purchasing import cheaper_window, right_size, right_size_gpu, spot
from accounting.run_data import RunData
from accounting.throughput import ThroughputCurve

GPU_MEMORY_HEADROOM = 0.9
"""Share of a GPU's memory that a batch may fill."""


def recommend(run: RunData) -> Advice:
    """Asks every strategy and combines what they save."""
    return combine(run.bill.usd, [strategy(run) for strategy in STRATEGIES])


def larger_batch(run: RunData) -> Recommendation:
    """Fewer, fuller steps: from a measured throughput curve, or modelled from how busy the GPU is.

    The largest batch is the one that fills 90% of the GPU's memory, memory growing in proportion
    to the batch (which overstates it, since weights do not grow), or the largest measured one.
    """
    name = "larger batch"
    share = run.training_share
    if run.batch_size is None or run.step_seconds is None or share is None:
        return Recommendation.absent(name, "needs batch_size, steps and step_seconds of the run")
    if len({point.batch_size for point in run.batch_points}) > 1:
        curve = ThroughputCurve.fit(run.batch_points)
        source = f"step time fitted to {len(run.batch_points)} measured batch sizes"
    elif run.utilisation.gpu_busy is not None:
        curve = ThroughputCurve.from_busy_share(
            batch_size=run.batch_size,
            step_seconds=run.step_seconds,
            busy=float(run.utilisation.gpu_busy),
        )
        source = f"the GPU works {run.utilisation.gpu_busy:.0%} of a step, and only that part grows"
    else:
        return Recommendation.absent(name, "needs step times at two batch sizes, or gpu_busy")
    largest = max((point.batch_size for point in run.batch_points), default=run.batch_size)
    if run.gpu_memory_gib and run.gpu_memory_limit_gib:
        room = GPU_MEMORY_HEADROOM * run.gpu_memory_limit_gib / run.gpu_memory_gib
        largest = max(largest, int(run.batch_size * room))
    if largest <= run.batch_size:
        return Recommendation.absent(name, "no larger batch was measured or is known to fit memory")
    ratio = curve.seconds_per_item(largest) / curve.seconds_per_item(run.batch_size)
    return Recommendation.worth(
        name,
        share * (1 - ratio),
        action=f"raise the batch from {run.batch_size} to {largest}",
        assumption=f"{source}; as many epochs reach the same quality",
        confidence="high" if run.batch_points else "medium",
        levers={"step time"},
    )


def mixed_precision(run: RunData) -> Recommendation:
    """A lower precision, from measured steps of the same work in both."""
    name = "mixed precision"
    share = run.training_share
    if run.precision != "fp32":
        return Recommendation.absent(name, f"the run already uses {run.precision}")
    full = run.precision_points.get("fp32", run.step_seconds)
    lower = {p: seconds for p, seconds in run.precision_points.items() if p != "fp32"}
    if share is None or full is None or not lower:
        return Recommendation.absent(name, "needs the time of a few steps in bf16 or fp16")
    best = min(lower, key=lambda precision: lower[precision])
    return Recommendation.worth(
        name,
        share * (1 - lower[best] / full),
        action=f"train in {best}: {lower[best]:.4g} s a step against {full:.4g} s",
        assumption="the measured steps are typical and the loss stays stable",
        confidence="high",
        levers={"step time"},
    )


def workers(run: RunData) -> Recommendation:
    """The number of workers at which a run costs least by the communication model."""
    name = "number of workers"
    share = run.training_share
    if run.scaling is None or share is None:
        return Recommendation.absent(name, "needs a scaling model, steps and step_seconds")
    scaling, now = run.scaling, run.resources.nodes
    cost = {n: n * scaling.step_seconds(n) for n in range(1, run.most_workers + 1)}
    best = min(cost, key=lambda n: (cost[n], n))
    if best == now:
        return Recommendation.absent(name, f"{now} is the cheapest number by the model")
    slower = scaling.step_seconds(best) / scaling.step_seconds(now)
    return Recommendation.worth(
        name,
        share * (1 - cost[best] / (now * scaling.step_seconds(now))),
        action=f"use {best} instead of {now}; a step takes {slower:.2g} times as long "
        f"({scaling.verdict(now)})",
        assumption="; ".join(scaling.assumptions()),
        confidence="high" if scaling.source.startswith("fitted") else "low",
        levers={"step time"},
    )


def early_stopping(run: RunData) -> Recommendation:
    """Stops where the metric had stopped improving, by a rule replayed on the run's history."""
    name = "early stopping"
    share = run.training_share
    if run.metric is None or share is None or run.steps is None:
        return Recommendation.absent(name, "needs the metric history, steps and step_seconds")
    stop = run.metric.early_stop()
    if stop is None or stop.step >= run.steps:
        return Recommendation.absent(name, f"{run.metric.name} kept improving to the end")
    return Recommendation.worth(
        name,
        share * (1 - stop.step / run.steps),
        action=f"stop after {run.metric.patience} evaluations without improvement: at step "
        f"{stop.step} of {run.steps}, best {run.metric.name} {stop.best_value:.6g} at step "
        f"{stop.best_step}, {stop.given_up:.3g} short of the whole run's best",
        assumption="another run improves as this one did, with the same learning-rate schedule",
        confidence="high" if stop.given_up == 0 else "medium",
        levers={"steps"},
    )


STRATEGIES = (
    larger_batch,
    mixed_precision,
    workers,
    early_stopping,
    cheaper_window,
    spot,
    right_size,
    right_size_gpu,
)

"""The learning rate as a function of the step: nothing to save, nothing to resume."""

import math
from typing import Literal

Schedule = Literal["one-cycle", "cosine", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("one-cycle", "cosine", "constant")


def learning_rate_factor(
    step: int, total_steps: int, *, schedule: Schedule, warmup_fraction: float
) -> float:
    """Returns the factor of the peak learning rate for the step numbered `step`, from 0.

    All schedules rise linearly from 1/25 to 1 over the warm-up. Then "one-cycle" falls to 0 by
    half a cosine, "cosine" to a tenth, and "constant" stays.

    >>> rates = [learning_rate_factor(s, 11, schedule="one-cycle", warmup_fraction=0.2)
    ...          for s in range(11)]
    >>> [round(rate, 2) for rate in rates]
    [0.04, 0.52, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04, 0.0]
    """
    last = max(total_steps - 1, 1)
    warmup_steps = round(last * warmup_fraction)
    if step < warmup_steps:
        start = 1 / 25
        return start + (1 - start) * step / warmup_steps
    if schedule == "constant":
        return 1.0
    floor = 0.0 if schedule == "one-cycle" else 0.1
    progress = (step - warmup_steps) / max(last - warmup_steps, 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

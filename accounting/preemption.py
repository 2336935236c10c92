"""What spot capacity really takes: the expected time of work that is preempted now and then.

Preemptions come at a constant rate and strike any of the workers, each of which stops them all.
Between two checkpoints lie tau seconds of work and the saving itself, delta seconds; a preemption
throws away what came after the last checkpoint and costs a restart of R seconds, which may be
preempted too. With failure rate lambda the expected time of one stretch is

    E(tau) = exp(lambda R) (exp(lambda (tau + delta)) - 1) / lambda

(Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006), and a
run is as many whole stretches as fit plus a last, shorter one that saves its result.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from accounting.bounds import at_least_one, not_negative, positive
from accounting.usage import Attempt

HOPELESS = 50.0
"""At exp(50) attempts a stretch, a run is taken never to end."""


@dataclass(frozen=True, kw_only=True)
class Preemption:
    """How often spot capacity is taken away and what that costs in time."""

    per_hour: float
    """Preemptions of one worker in an hour of running."""
    checkpoint_seconds: float
    """Seconds of work between two checkpoints (tau)."""
    restart_seconds: float
    """Seconds from a preemption to the first new step, charged as running (R)."""
    save_seconds: float = 0.0
    """Seconds that one checkpoint stops the work (delta)."""
    source: str = "stated"
    """Where the rate comes from."""

    def __post_init__(self) -> None:
        """Refuses negative values."""
        not_negative("per_hour", self.per_hour)
        positive("checkpoint_seconds", self.checkpoint_seconds)
        not_negative("restart_seconds", self.restart_seconds)
        not_negative("save_seconds", self.save_seconds)

    @classmethod
    def measured(
        cls,
        attempts: Iterable[Attempt],
        *,
        checkpoint_seconds: float,
        restart_seconds: float,
        save_seconds: float = 0.0,
    ) -> Self:
        """Estimates the rate from spot attempts: (killed + 1/2) in the node-hours they ran.

        The half is Jeffreys' prior, so that hours without a preemption still leave a small rate.

        Raises:
            ValueError: no spot attempt ran for any time.
        """
        spot = [attempt for attempt in attempts if attempt.spot]
        node_hours = float(sum(a.duration_hours * a.resources.nodes for a in spot))
        if not node_hours:
            raise ValueError("attempts holds no spot time; state per_hour instead")
        killed = sum(attempt.outcome == "killed" for attempt in spot)
        return cls(
            per_hour=(killed + 0.5) / node_hours,
            checkpoint_seconds=checkpoint_seconds,
            restart_seconds=restart_seconds,
            save_seconds=save_seconds,
            source=f"{killed} in {node_hours:.1f} measured spot node-hours",
        )

    def expected_seconds(self, work_seconds: float, *, workers: int = 1) -> float:
        """Expected seconds until `work_seconds` of work are done; infinite where hopeless.

        >>> hourly = Preemption(per_hour=1.0, checkpoint_seconds=600, restart_seconds=120)
        >>> round(hourly.expected_seconds(3600))
        4050
        """
        not_negative("work_seconds", work_seconds)
        at_least_one("workers", workers)
        rate = self.per_hour * workers / 3600
        whole, rest = divmod(work_seconds, self.checkpoint_seconds)
        return whole * self._stretch(self.checkpoint_seconds, rate) + (
            self._stretch(rest, rate) if rest else 0.0
        )

    def lost_seconds(self, work_seconds: float, *, workers: int = 1) -> float:
        """Expected seconds of restarts and of work done twice or saved, on top of the work."""
        return self.expected_seconds(work_seconds, workers=workers) - work_seconds

    def _stretch(self, work_seconds: float, rate: float) -> float:
        length = work_seconds + self.save_seconds
        if not rate:
            return length
        exponent = rate * (length + self.restart_seconds)
        if exponent > HOPELESS:
            return math.inf
        return math.exp(rate * self.restart_seconds) * math.expm1(rate * length) / rate

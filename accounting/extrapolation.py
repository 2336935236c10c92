"""What the mean of coming values will be, told from equal blocks of past ones.

Averaging runs of consecutive steps into blocks ("batch means", Schmeiser 1982) takes away most of
their autocorrelation and of their heavy tails. What is left is described by hypotheses that differ
in two ways: how much the level wanders at random from block to block, and how strong a straight
trend may be. Under one hypothesis the block means are Gaussian with covariance

    sigma^2 (noise + wander * random walk + trend * straight line)    and an unknown level,

so the coming mean follows a Student t distribution in closed form (Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, section 2.7). The hypotheses are averaged by how
well each one explains the past. A past that shows no drift thus keeps a little doubt, which grows
with the distance looked ahead, instead of the certainty that a picked model would claim.

Machines have one more surprise that no past of a quiet run shows: other work begins beside it. So a
small probability is kept for a slowdown to come. Its size and the priors were chosen once, on the
back-test in tests/accounting/test_forecast.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from statistics import NormalDist, fmean

from accounting.bounds import positive

WANDERS = {0.0: 0.8, 0.03: 0.2 / 3, 0.3: 0.2 / 3, 3.0: 0.2 / 3}
"""Variance that the random walk adds per block, in units of the noise: prior probability."""
TRENDS = {0.0: 0.8, 10.0: 0.1, 100.0: 0.1}
"""Variance of the drift over the whole past, in units of the noise: prior probability."""
SLOWDOWN_PROBABILITY = 0.06
"""Probability that what is to come is slowed by something that the past does not show."""
SLOWDOWN_MEAN = 0.08
"""Mean of such a slowdown, exponentially distributed, as a fraction of the time."""
SLOWDOWN_NODES = 6
"""Points that stand for the distribution of the slowdown."""
SLOWEST_FALL = 0.2
"""A downward trend is followed to this fraction of the fastest block, never through zero."""
WIDEST_SPREAD = 2.0
"""Largest scale on the logarithm; a wilder past says no more than "anything"."""
NEGLIGIBLE = 1e-3
"""Hypotheses less probable than this are left out of a quantile: they hardly move it."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The distribution of a mean to come: a mixture of Student t, on the scale of its logarithm."""

    weights: tuple[float, ...]
    """Probability of each hypothesis."""
    means: tuple[float, ...]
    """Centre under each hypothesis, above 0."""
    spreads: tuple[float, ...]
    """Scale under each hypothesis, as a fraction of its centre."""
    degrees: int
    """Degrees of freedom: blocks less one."""

    @property
    def mean(self) -> float:
        """Averages the centres of all hypotheses, without a slowdown to come."""
        return sum(w * m for w, m in zip(self.weights, self.means, strict=True))

    def quantile(self, probability: float) -> float:
        """Finds the value that the coming mean stays below with `probability`."""
        target = NormalDist().inv_cdf(probability)
        step = _t_score(target, self.degrees)
        parts = [
            (weight * chance, math.log(mean * factor), spread)
            for weight, mean, spread in zip(self.weights, self.means, self.spreads, strict=True)
            if weight >= NEGLIGIBLE
            for chance, factor in _slowdowns()
        ]
        ends = [centre + step * spread for _, centre, spread in parts]
        low, high = min(ends), max(ends)
        total = sum(weight for weight, _, _ in parts)
        for _ in range(24):  # halves the bracket to 1e-7 of itself
            middle = (low + high) / 2
            below = sum(
                weight * _t_probability((middle - centre) / spread, self.degrees)
                for weight, centre, spread in parts
            )
            low, high = (middle, high) if below < probability * total else (low, middle)
        return math.exp((low + high) / 2)


@lru_cache(maxsize=1)
def _slowdowns() -> tuple[tuple[float, float], ...]:
    """Factors on the time, each with its probability; mostly there is none."""
    share = SLOWDOWN_PROBABILITY / SLOWDOWN_NODES
    middles = [(i + 0.5) / SLOWDOWN_NODES for i in range(SLOWDOWN_NODES)]
    return (
        (1 - SLOWDOWN_PROBABILITY, 1.0),
        *((share, 1 - SLOWDOWN_MEAN * math.log(1 - middle)) for middle in middles),
    )


def look_ahead(blocks: Sequence[float], *, horizon: float) -> Outlook:
    """Tells the mean over the coming `horizon` blocks from past block means, all above 0.

    Args:
        blocks: Means of consecutive equal blocks, oldest first, at least 4.
        horizon: How far ahead the mean is taken, in blocks; fractions are welcome.

    Raises:
        ValueError: there are fewer than 4 blocks, or `horizon` is not above 0.
    """
    if len(blocks) < 4:
        raise ValueError(f"blocks holds {len(blocks)} values; give at least 4")
    positive("horizon", horizon)
    degrees = len(blocks) - 1
    # Equal blocks have no spread at all; a nanosecond per second stands in for it.
    least = degrees * (1e-9 * fmean(blocks)) ** 2
    floor = SLOWEST_FALL * min(blocks)
    scores, means, spreads = [], [], []
    for fitted in _hypotheses(len(blocks)):
        level = _dot(fitted.to_ones, blocks) / fitted.information
        residuals = [block - level for block in blocks]
        weighed = [_dot(row, residuals) for row in fitted.inverse]
        error = max(_dot(residuals, weighed), least)
        ahead, variance = fitted.ahead(horizon)
        explained = _dot(ahead, [_dot(row, ahead) for row in fitted.inverse])
        unknown_level = (1 - _dot(ahead, fitted.to_ones)) ** 2 / fitted.information
        scale = math.sqrt(error / degrees * (variance - explained + unknown_level))
        centre = max(level + _dot(ahead, weighed), floor)
        scores.append(fitted.log_prior - degrees / 2 * math.log(error))
        means.append(centre)
        spreads.append(min(scale / centre, WIDEST_SPREAD))
    best = max(scores)
    likelihoods = [math.exp(score - best) for score in scores]
    total = sum(likelihoods)
    return Outlook(
        weights=tuple(likelihood / total for likelihood in likelihoods),
        means=tuple(means),
        spreads=tuple(spreads),
        degrees=degrees,
    )


@dataclass(frozen=True, kw_only=True)
class _Hypothesis:
    """All that does not depend on the data: computed once per number of blocks."""

    wander: float
    trend: float
    inverse: list[list[float]]
    to_ones: list[float]
    """Inverse covariance times ones: the weights that find the level."""
    information: float
    """Sum of `to_ones`."""
    log_prior: float
    """Log prior probability, with the parts of the likelihood that the data do not enter."""

    def ahead(self, horizon: float) -> tuple[list[float], float]:
        """Covariance of the coming mean with each block, and its own variance."""
        count = len(self.to_ones)
        later = (count + horizon / 2) / count
        covariances = [
            self.wander * (i + 0.5) + self.trend * later * (i + 0.5) / count for i in range(count)
        ]
        walked = self.wander * (count + horizon / 3)
        return covariances, 1 / horizon + walked + self.trend * later**2


@lru_cache(maxsize=32)
def _hypotheses(count: int) -> tuple[_Hypothesis, ...]:
    return tuple(
        _hypothesis(count, wander, trend, wander_prior * trend_prior)
        for wander, wander_prior in WANDERS.items()
        for trend, trend_prior in TRENDS.items()
    )


def _hypothesis(count: int, wander: float, trend: float, prior: float) -> _Hypothesis:
    """Inverts one covariance; block i covers time i to i + 1, so a walk has reached i + 1/2."""
    covariance = [
        [
            wander * (min(i, j) + 0.5) + trend * (i + 0.5) * (j + 0.5) / count**2
            for j in range(count)
        ]
        for i in range(count)
    ]
    for i in range(count):
        # The mean of a walk over its own block varies by 1/3, not by 1/2.
        covariance[i][i] += 1 - wander / 6
    inverse, log_determinant = _inverse(covariance)
    to_ones = [sum(row) for row in inverse]
    information = sum(to_ones)
    return _Hypothesis(
        wander=wander,
        trend=trend,
        inverse=inverse,
        to_ones=to_ones,
        information=information,
        log_prior=math.log(prior) - (log_determinant + math.log(information)) / 2,
    )


def _inverse(matrix: list[list[float]]) -> tuple[list[list[float]], float]:
    """Inverts a positive definite matrix by elimination, with the log of its determinant."""
    size = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    log_determinant = 0.0
    for k in range(size):
        pivot = rows[k][k]
        log_determinant += math.log(pivot)
        lead = rows[k] = [value / pivot for value in rows[k]]
        for i in range(size):
            factor = rows[i][k]
            if i != k and factor:
                rows[i] = [a - factor * b for a, b in zip(rows[i], lead, strict=True)]
    return [row[size:] for row in rows], log_determinant


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum(map(mul, left, right))


def _t_probability(t: float, degrees: int) -> float:
    """Student t probability below `t`; Wallace's 1959 normal approximation, good to 0.001."""
    slant = (8 * degrees + 1) / (8 * degrees + 3)
    z = slant * math.sqrt(degrees * math.log1p(t * t / degrees))
    return NormalDist().cdf(math.copysign(z, t))


def _t_score(z: float, degrees: int) -> float:
    """The t at which `_t_probability` is that of the normal score `z`."""
    slant = (8 * degrees + 3) / (8 * degrees + 1)
    t = math.sqrt(degrees * math.expm1((slant * z) ** 2 / degrees))
    return math.copysign(t, z)

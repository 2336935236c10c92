"""Least squares for a handful of unknowns that cannot be negative, such as times."""

from collections.abc import Sequence
from itertools import combinations


def non_negative_least_squares(
    rows: Sequence[Sequence[float]], targets: Sequence[float]
) -> list[float]:
    """Minimises |rows x - targets| over x >= 0, exactly, for a handful of unknowns.

    Tries every subset of unknowns as the support: with three of them that is seven small
    systems, and the best feasible one is the optimum.

    >>> non_negative_least_squares([[1.0, 0.0], [0.0, 1.0]], [2.0, -1.0])
    [2.0, 0.0]
    """
    unknowns = len(rows[0])
    best, best_error = [0.0] * unknowns, sum(target**2 for target in targets)
    for size in range(1, unknowns + 1):
        for support in combinations(range(unknowns), size):
            solution = _least_squares([[row[i] for i in support] for row in rows], targets)
            if solution is None or min(solution) < 0:
                continue
            candidate = [0.0] * unknowns
            for i, value in zip(support, solution, strict=True):
                candidate[i] = value
            error = sum(
                (sum(a * x for a, x in zip(row, candidate, strict=True)) - target) ** 2
                for row, target in zip(rows, targets, strict=True)
            )
            if error < best_error:
                best, best_error = candidate, error
    return best


def _least_squares(rows: Sequence[Sequence[float]], targets: Sequence[float]) -> list[float] | None:
    """Solves the normal equations by elimination with pivoting; None when they are singular."""
    size = len(rows[0])
    system = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * target for row, target in zip(rows, targets, strict=True))]
        for i in range(size)
    ]
    scale = max(abs(system[i][i]) for i in range(size))
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(system[i][column]))
        if abs(system[pivot][column]) <= 1e-12 * scale:
            return None
        system[column], system[pivot] = system[pivot], system[column]
        for i in range(size):
            if i != column:
                factor = system[i][column] / system[column][column]
                system[i] = [a - factor * b for a, b in zip(system[i], system[column], strict=True)]
    return [system[i][size] / system[i][i] for i in range(size)]

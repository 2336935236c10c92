"""Pareto fronts: what nothing else beats in two things at once."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")


def pareto_front(items: Iterable[Item], *, key: Callable[[Item], tuple[Any, Any]]) -> list[Item]:
    """Keeps the items whose two figures (less is better) no other item matches and betters.

    Of several items with the same two figures the first is kept. The result is sorted by the first
    figure, so the second one falls from item to item.

    >>> pareto_front([(1, 5), (2, 2), (3, 4), (4, 1)], key=lambda pair: pair)
    [(1, 5), (2, 2), (4, 1)]
    """
    front: list[Item] = []
    for item in sorted(items, key=key):
        if not front or key(item)[1] < key(front[-1])[1]:
            front.append(item)
    return front

"""One choice for each item, so that the costs stay within a budget and the sum of losses is the least there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_HALVINGS = 60


def solve(losses: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], budget: int) -> list[int] | None:
    """The choice of each item with the least sum of losses; exact.

    Item by item, the sums that no other beats in both cost and loss are kept, but for those that cannot lead to less
    than what a Lagrange multiplier found to begin with: the relaxation bounds what the items that are left must lose.

    Args:
        losses: of each choice of each item.
        costs: whole numbers from 0, in the same order.
        budget: what the sum of the costs may be.

    Returns:
        The index of each item's choice; None if the cheapest choices cost too much.
    """
    loss = [np.asarray(row, np.float64) for row in losses]
    cost = [np.asarray(row, np.int64) for row in costs]
    if sum(int(row.min()) for row in cost) > budget:
        return None
    price, known = _relaxed(loss, cost, budget)
    # What the items from each one on lose at least, with what they cost beside it.
    rest = [0.0, *np.cumsum([(row + price * own).min() for row, own in zip(loss[::-1], cost[::-1], strict=True)])][::-1]
    spent, lost = np.zeros(1, np.int64), np.zeros(1)
    trail: list[tuple[np.ndarray, np.ndarray]] = []
    for index, (row, own) in enumerate(zip(loss, cost, strict=True)):
        spent, lost, parents, choices = _extended(spent, lost, row, own)
        bound = lost + rest[index + 1] - price * (budget - spent)
        kept = (spent <= budget) & (bound <= known * (1 + 1e-9) + 1e-12)
        spent, lost = spent[kept], lost[kept]
        trail.append((parents[kept], choices[kept]))
    position, found = int(lost.argmin()), []
    for parents, choices in reversed(trail):
        found.append(int(choices[position]))
        position = int(parents[position])
    return found[::-1]


def _extended(
    spent: np.ndarray, lost: np.ndarray, row: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All sums with one item more of which no other is as cheap and loses less; where each came from."""
    parents, choices = (array.reshape(-1) for array in np.indices((spent.size, row.size)))
    spent, lost = spent[parents] + own[choices], lost[parents] + row[choices]
    order = np.lexsort((lost, spent))
    least = np.minimum.accumulate(lost[order])
    first = np.concatenate([[True], lost[order][1:] < least[:-1]])
    kept = order[first]
    return spent[kept], lost[kept], parents[kept], choices[kept]


def _relaxed(loss: list[np.ndarray], cost: list[np.ndarray], budget: int) -> tuple[float, float]:
    """A price of costs at which the cheapest choices keep the budget, and what they lose."""

    def at(price: float) -> tuple[int, float]:
        picked = [int((row + price * own).argmin()) for row, own in zip(loss, cost, strict=True)]
        spent = sum(int(own[index]) for own, index in zip(cost, picked, strict=True))
        return spent, sum(float(row[index]) for row, index in zip(loss, picked, strict=True))

    low, high = 0.0, 1e-12
    if at(low)[0] <= budget:
        return 0.0, at(low)[1]
    while at(high)[0] > budget and high < 1e300:
        high *= 4
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle)[0] <= budget else (middle, high)
    spent, found = at(high)
    if spent > budget:  # ties at the cheapest choices
        found = sum(float(row[own == own.min()].min()) for row, own in zip(loss, cost, strict=True))
    return high, found

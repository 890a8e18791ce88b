"""One axis of a chart: where a value lies, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDE = 8.0
"""Values that span more than this factor are laid out by their logarithm."""


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along a line from `start` to `end`, by their logarithm if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, value = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self, count: int = 5) -> list[float]:
        """About so many round values, at least two."""
        if self.log:
            return _decades(self.low, self.high, count)
        step = _round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [step * index for index in range(first, last + 1)]


def around(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    margin: float = 0.06,
    log: bool = False,
    most: float | None = None,
) -> Axis:
    """An axis for some values, with a margin on both sides; by logarithms if so said and if they span much.

    It does not go beyond `most`, the largest value that there can be.
    """
    low, high = min(values), max(values)
    if log and low > 0 and high / low > _WIDE:
        factor = (high / low) ** margin
        return Axis(low / factor, high * factor, start, end, log=True)
    space = margin * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(low - space, high + space if most is None else min(high + space, max(high, most)), start, end)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... and of their parts."""
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step * (1 - 1e-9))


def _decades(low: float, high: float, count: int) -> list[float]:
    """Powers of ten, and what lies between where these are few; every so many where they are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        found = [10.0**power * factor for power in range(first, last + 1) for factor in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            break
    return found[:: math.ceil(len(found) / (2 * count))] if found else [low, high]

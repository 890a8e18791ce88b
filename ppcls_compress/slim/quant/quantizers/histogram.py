"""How large the activations of a layer are: a histogram of magnitudes, and the ranges that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 2048
# Enough for a percentile of 99.99 with some twenty values above it in each batch, and a tenth of the time that the
# network itself takes.
SAMPLES = 2**18
_CANDIDATES = 200


class Histogram:
    """Counts of |x| in equal bins from 0 to `top`; the smallest and the largest value are exact.

    Attributes:
        counts: float64 [BINS].
        below: the part of them that values below zero have.
        top: upper edge of the last bin.
        lowest: smallest value seen.
        highest: largest value seen.
    """

    def __init__(self, counts: np.ndarray, below: np.ndarray, top: float, lowest: float, highest: float) -> None:
        self.counts = counts
        self.below = below
        self.top = top
        self.lowest = lowest
        self.highest = highest

    @property
    def largest(self) -> float:
        """The largest magnitude seen."""
        return max(-self.lowest, self.highest)

    @property
    def negative(self) -> bool:
        """Whether any value was below zero."""
        return self.lowest < 0

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram:
        """Histogram of an array of finite values, float32; a large one is thinned out evenly."""
        flat = values.reshape(-1)
        lowest, highest = float(flat.min()), float(flat.max())
        largest = max(-lowest, highest)
        # Powers of two as upper edges: two histograms then merge by adding neighbouring bins, exactly.
        top = float(2.0 ** np.ceil(np.log2(largest))) if largest > 0 else 0.0
        below, above = _counted_by_sign(thinned(flat, SAMPLES), top)
        return cls(above + below, below, top, lowest, highest)

    @classmethod
    def merged(cls, parts: Sequence[Histogram]) -> Histogram:
        """One histogram of several batches."""
        top = max(part.top for part in parts)
        counts, below = (
            np.sum([part._widened(values, top) for part, values in rows], axis=0)
            for rows in (((part, part.counts) for part in parts), ((part, part.below) for part in parts))
        )
        return cls(counts, below, top, min(part.lowest for part in parts), max(part.highest for part in parts))

    def percentile(self, percent: float) -> float:
        """The magnitude that `percent` percent of the values do not exceed, to a bin's width."""
        reached = np.cumsum(self.counts) / self.counts.sum()
        edge = int(np.searchsorted(reached, percent / 100 * (1 - 1e-12))) + 1
        return min(edge * self.top / BINS, self.largest)

    def least_squares(self, levels: int) -> float:
        """The range whose grid of `levels` steps has the least squared error over the values, clipping included."""
        if self.largest == 0:
            return 0.0
        ranges = self.largest * np.linspace(1 / _CANDIDATES, 1.0, _CANDIDATES)
        # The first bin holds the exact zeros of a ReLU, which every grid represents.
        centres = (np.arange(BINS) + 0.5) * (self.top / BINS)
        centres[0] = 0.0
        held = self.counts > 0
        centres, counts = centres[held], self.counts[held]
        steps = ranges[:, None] / levels
        rounded = np.minimum(np.round(centres / steps), levels) * steps
        return float(ranges[np.argmin(np.square(rounded - centres) @ counts)])

    def least_squares_ends(self, levels: int) -> tuple[float, float]:
        """The ends with the least squared error on a grid of `levels` steps between them.

        Tried are magnitudes up to the largest, each cut to what was seen below and above zero.
        """
        if self.largest == 0:
            return 0.0, 0.0
        tried = self.largest * np.linspace(1 / _CANDIDATES, 1.0, _CANDIDATES)
        low, high = np.maximum(min(self.lowest, 0.0), -tried), np.minimum(max(self.highest, 0.0), tried)
        centres = (np.arange(BINS) + 0.5) * (self.top / BINS)
        centres[0] = 0.0
        error = np.zeros(_CANDIDATES)
        for values, counts in ((centres, self.counts - self.below), (-centres, self.below)):
            held = counts > 0
            steps = ((high - low) / levels)[:, None]
            rounded = np.clip(np.round(values[held] / steps) * steps, low[:, None], high[:, None])
            error += np.square(rounded - values[held]) @ counts[held]
        best = int(np.argmin(error))
        return float(low[best]), float(high[best])

    def _widened(self, counts: np.ndarray, top: float) -> np.ndarray:
        if self.top in (0.0, top):
            return counts
        factor = min(round(top / self.top), BINS)
        merged = counts.reshape(-1, factor).sum(axis=1)
        return np.concatenate([merged, np.zeros(BINS - merged.size)])


def thinned(values: np.ndarray, count: int) -> np.ndarray:
    """About `count` of the values, from all over the array, or all of fewer, [n]."""
    # An odd stride does not fall in step with rows whose length is a power of two.
    return values.reshape(-1)[:: values.size // count | 1]


def _counted_by_sign(values: np.ndarray, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts of |x| from 0 to `top`, of values below zero and of the others, float64 [BINS] each.

    Args:
        values: float32.
        top: a power of two, or 0.
    """
    # Both are powers of two, so that single precision, which is several times as fast, is exact.
    places = values * np.float32(min(BINS / (top or 1.0), 2.0**127))
    np.trunc(places, out=places)
    places -= values < 0  # or the first bin on either side would be one
    places += BINS
    np.clip(places, 0, 2 * BINS - 1, out=places)
    both = np.bincount(places.astype(np.int64), minlength=2 * BINS).astype(np.float64)
    return both[BINS - 1 :: -1], both[BINS:]


def counted(magnitudes: np.ndarray, bins: int, top: float) -> np.ndarray:
    """Counts of magnitudes from 0 to `top` in equal bins, float64 [bins]."""
    # np.histogram also moves values across edges that a product rounds to the wrong side of, at five times the cost.
    index = (magnitudes.astype(np.float64) * (bins / (top or 1.0))).astype(np.int64)
    return np.bincount(np.minimum(index, bins - 1), minlength=bins).astype(np.float64)

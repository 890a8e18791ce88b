"""How large the activations of a layer are: one histogram of magnitudes, and the ranges that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 2048
# Enough for a percentile of 99.99 with about a hundred values above it, and a hundredth of the time that a whole
# activation of a large network takes.
SAMPLES = 1_000_000
_CANDIDATES = 200


class Histogram:
    """Counts of |x| in equal bins from 0 to `top`; the largest magnitude and the sign are exact.

    Attributes:
        counts: float64 [BINS].
        top: upper edge of the last bin.
        largest: largest magnitude seen.
        negative: whether any value was below zero.
    """

    def __init__(self, counts: np.ndarray, top: float, largest: float, negative: bool) -> None:
        self.counts = counts
        self.top = top
        self.largest = largest
        self.negative = negative

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram:
        """Histogram of an array of finite values; a large one is thinned out evenly."""
        flat = values.reshape(-1)
        lowest, highest = float(flat.min()), float(flat.max())
        largest = max(-lowest, highest)
        # Powers of two as upper edges: two histograms then merge by adding neighbouring bins, exactly.
        top = float(2.0 ** np.ceil(np.log2(largest))) if largest > 0 else 0.0
        # An odd stride does not fall in step with rows whose length is a power of two.
        stride = flat.size // SAMPLES | 1
        counts, _ = np.histogram(np.abs(flat[::stride]), bins=BINS, range=(0.0, top or 1.0))
        return cls(counts.astype(np.float64), top, largest, lowest < 0)

    @classmethod
    def merged(cls, parts: Sequence[Histogram]) -> Histogram:
        """One histogram of several batches."""
        top = max(part.top for part in parts)
        counts = np.sum([part._widened(top) for part in parts], axis=0)
        return cls(counts, top, max(part.largest for part in parts), any(part.negative for part in parts))

    def mean(self) -> float:
        """The mean magnitude, to a fraction of a bin's width."""
        centres = (np.arange(BINS) + 0.5) * (self.top / BINS)
        return float(self.counts @ centres / self.counts.sum())

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

    def _widened(self, top: float) -> np.ndarray:
        if self.top in (0.0, top):
            return self.counts
        factor = min(round(top / self.top), BINS)
        merged = self.counts.reshape(-1, factor).sum(axis=1)
        return np.concatenate([merged, np.zeros(BINS - merged.size)])

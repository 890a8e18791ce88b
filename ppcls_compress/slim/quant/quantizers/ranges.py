"""Ranges for quantization after training, by PaddleSlim's rules, from a stream of batches.

KL: the range whose rounded histogram has the least divergence from the original one. Histogram: the range that holds a
given fraction. Abs-max: the largest magnitude. Percentile: the mean of each batch's percentile. MSE: the least squared
error of the rounded values.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers.fake_quant import levels
from ppcls_compress.slim.quant.quantizers.histogram import Histogram, counted, thinned

# How many ranges KL tries at most. The time for each grows with the bins: all 32,768 of 16 bits would take minutes.
_CANDIDATES = 2048
# Of a batch of inputs: thirty thousand values of each say as much of a range as all, in a fraction of the time.
_COUNTED = 2**15


class RangeObserver(Protocol):
    """Takes in batches, then gives the range."""

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""

    def range(self) -> float:
        """The range of all of them; 0 when every value was 0."""


class AbsMaxRange:
    """The largest magnitude."""

    def __init__(self) -> None:
        self._largest = 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        self._largest = max(self._largest, float(np.abs(values).max()))

    def range(self) -> float:
        """The largest magnitude."""
        return self._largest


class PercentileRange:
    """The mean over the batches of a percentile of the magnitudes."""

    def __init__(self, percent: float) -> None:
        self._percent = percent
        self._found: list[float] = []
        self._largest = 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        magnitudes = np.abs(values)
        self._found.append(float(np.percentile(magnitudes, self._percent)))
        self._largest = max(self._largest, float(magnitudes.max()))

    def range(self) -> float:
        """The mean of the batches' percentiles; the largest magnitude where these are all 0, as of a sparse input."""
        return float(np.mean(self._found)) or self._largest


class _GrowingHistogram:
    """Counts of magnitudes in equal bins; when a batch exceeds the top, old bins are split and joined to fit.

    A large batch is thinned out evenly before it is counted; its largest magnitude is always seen.
    """

    def __init__(self, bins: int, upsample_bins: int) -> None:
        self._bins = bins
        self._upsample = upsample_bins
        self._top = 0.0
        self._counts = np.zeros(bins, np.float32)

    def add(self, values: np.ndarray, largest: float | None = None) -> None:
        """Take in one batch; `largest` is its largest magnitude, where that is known."""
        largest = max(float(values.max()), -float(values.min())) if largest is None else largest
        if largest == 0.0:
            return
        if self._top == 0.0:
            self._top = largest
        elif largest > self._top:
            self._grow(largest)
        self._counts = self._counts + counted(np.abs(thinned(values, _COUNTED)), self._bins, self._top).astype(
            np.float32
        )

    def _grow(self, largest: float) -> None:
        part = self._top / (self._bins * self._upsample)
        joined = math.ceil(largest / (self._bins * part))
        split = np.zeros(self._bins * joined, np.float32)
        split[: self._bins * self._upsample] = np.repeat(self._counts, self._upsample)
        edges = np.cumsum(split, dtype=np.float64)[joined - 1 :: joined]
        self._counts = (np.diff(edges, prepend=0.0) / self._upsample).astype(np.float32)
        self._top = self._bins * part * joined


class HistogramRange(_GrowingHistogram):
    """The range that holds a fraction of the magnitudes."""

    def __init__(self, bins: int, upsample_bins: int, fraction: float) -> None:
        super().__init__(bins, upsample_bins)
        self._fraction = fraction

    def range(self) -> float:
        """The centre of the last bin before the one in which the fraction is reached; half a bin at least."""
        if self._top == 0.0:
            return 0.0
        reached = np.cumsum(self._counts / np.sum(self._counts, dtype=np.float64))
        return float(max(np.argmax(reached >= self._fraction) - 0.5, 0.5) * (self._top / self._bins))


class KlRange(_GrowingHistogram):
    """The range with the least Kullback-Leibler divergence between the histogram and its rounding."""

    def __init__(self, bins: int, upsample_bins: int, bits: int) -> None:
        super().__init__(bins, upsample_bins)
        self._levels = 2 ** (bits - 1) - 1

    def range(self) -> float:
        """The best of the upper half of the bins, at its centre; of very many bins, every few are tried."""
        if self._top == 0.0:
            return 0.0
        counts = self._counts.astype(np.float64)
        first = int((self._bins - 1) * 0.5)
        candidates = np.arange(first, self._bins)
        candidates = candidates[counts[candidates - 1] > 0]
        candidates = candidates[:: math.ceil(len(candidates) / _CANDIDATES) or 1]
        if candidates.size:
            best = int(candidates[np.argmin(divergences(counts, candidates, self._levels))])
        else:
            filled = np.flatnonzero(counts[: first + 1])
            best = int(filled[-1]) if filled.size else 0
        return (best + 0.5) * self._top / self._bins


class MseRange:
    """The range whose grid has the least squared error, clipping included."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._seen: Histogram | None = None

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        batch = Histogram.of(values)
        self._seen = batch if self._seen is None else Histogram.merged([self._seen, batch])

    def range(self) -> float:
        """The largest magnitude of the best symmetric grid."""
        return self._seen.least_squares(levels(self._bits))

    def ends(self) -> tuple[float, float]:
        """The ends of the best grid with a free zero point."""
        return self._seen.least_squares_ends(2**self._bits - 1)


class EndsObserver:
    """The smallest and the largest value, cut to the range that a rule finds for the magnitudes, if there is a rule."""

    def __init__(self, rule: RangeObserver | None = None) -> None:
        self._rule = rule
        self._low, self._high = 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        low, high = float(values.min()), float(values.max())
        self._low, self._high = min(self._low, low), max(self._high, high)
        if isinstance(self._rule, _GrowingHistogram):
            self._rule.add(values, max(-low, high))
        elif self._rule is not None:
            self._rule.add(values)

    def ends(self) -> tuple[float, float]:
        """The lower end, at most 0, and the upper one, at least 0."""
        if isinstance(self._rule, MseRange):
            return self._rule.ends()
        limit = math.inf if self._rule is None else self._rule.range()
        return max(self._low, -limit), min(self._high, limit)


def divergences(counts: np.ndarray, sizes: np.ndarray, levels: int) -> np.ndarray:
    """Divergence of the first bins, the rest added to the last of them, from their mean over `levels` groups.

    A group's count is spread evenly over those of its bins that hold anything. With p the counts as they stand and q
    what they are spread to, sum(p log(p / q)) is taken apart into sums over bins and over groups. All groups but the
    last are the same for all sizes that share a width, so that a size costs no pass over the bins.

    Args:
        counts: float64 [bins].
        sizes: how many bins are the first, at least `levels`; the last of them holds something.
        levels: how many groups.

    Returns:
        float64, like `sizes`.
    """
    total = counts.sum()
    held, own = _summed(counts > 0), _summed(counts)
    logs = _summed(_times_log(counts, counts))
    found = np.empty(len(sizes))
    for width in np.unique(sizes // levels):
        chosen = sizes // levels == width
        size, last = sizes[chosen], (levels - 1) * width
        edges = np.arange(levels) * width
        sums, filled = np.diff(own[edges]), np.diff(held[edges])
        between = _times_log(sums, sums / np.maximum(filled, 1)).sum()
        tail = total - own[size]
        # The last bin of the first ones has the rest beside its own.
        bins = logs[size - 1] + _times_log(counts[size - 1] + tail, counts[size - 1] + tail)
        group = own[size] - own[last]
        groups = between + (group + tail) * np.log(group / (held[size] - held[last]))
        found[chosen] = (bins - groups) / total + np.log(own[size] / total)
    return found


def _summed(values: np.ndarray) -> np.ndarray:
    """The sum of the first n values for every n from 0 on, float64."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _times_log(factors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """factor log(value), 0 where the value is 0."""
    return factors * np.log(np.where(values > 0, values, 1.0))


def build(options: QuantOptions) -> RangeObserver:
    """The method that the options name."""
    if options.activation_quantizer == "KLQuantizer":
        return KlRange(options.bins, options.upsample_bins, options.activation_bits)
    if options.activation_quantizer == "HistQuantizer":
        return HistogramRange(options.bins, options.upsample_bins, options.hist_percent)
    if options.activation_quantizer == "PercentileQuantizer":
        return PercentileRange(options.percentile)
    if options.activation_quantizer == "MSEQuantizer":
        return MseRange(options.activation_bits)
    return AbsMaxRange()


def build_ends(options: QuantOptions) -> EndsObserver:
    """The method that the options name, for both ends."""
    return EndsObserver(None if options.activation_quantizer == "AbsmaxQuantizer" else build(options))

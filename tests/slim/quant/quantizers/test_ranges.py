"""Divergences by sums against the definition, and counts against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from ppcls_compress.slim.quant.quantizers import histogram, ranges


def divergence(counts, size, levels):
    """sum(p log(p / q)) of the first `size` bins, bin by bin."""
    reference = counts[:size].copy()
    reference[-1] += counts[size:].sum()
    width = size // levels
    spread = np.zeros(size)
    for group in range(levels):
        part = slice(group * width, size if group == levels - 1 else (group + 1) * width)
        held = counts[:size][part] > 0
        if held.any():
            spread[part] = np.where(held, counts[:size][part].sum() / held.sum(), 0.0)
    held = reference > 0
    p, q = reference[held] / reference.sum(), spread[held] / spread.sum()
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize(("bins", "levels"), [(1024, 127), (1024, 7), (2048, 127), (4096, 2047)])
@pytest.mark.parametrize("zeros", [0, 20_000])
def test_divergences_are_those_of_the_definition(bins, levels, zeros):
    values = np.abs(np.random.default_rng(bins).standard_normal(30_000))
    values[:zeros] = 0
    counts = np.histogram(values, bins=bins, range=(0, values.max()))[0].astype(float)
    sizes = np.arange(bins // 2, bins)
    sizes = sizes[counts[sizes - 1] > 0][::7]
    expected = [divergence(counts, size, levels) for size in sizes]
    np.testing.assert_allclose(ranges.divergences(counts, sizes, levels), expected, rtol=1e-9, atol=1e-12)


def test_magnitudes_are_counted_in_equal_bins_with_both_ends():
    values = np.abs(np.random.default_rng(1).standard_normal(50_000).astype("float32"))
    top = float(values.max())
    expected = np.histogram(values, bins=1000, range=(0, top))[0]
    found = histogram.counted(values, 1000, top)
    assert found.sum() == values.size
    assert np.abs(found - expected).sum() <= 4  # what lies on an edge may fall on either side
    np.testing.assert_array_equal(histogram.counted(np.array([0.0, 1.0, 1.0], "float32"), 4, 1.0), [1, 0, 0, 2])
    np.testing.assert_array_equal(histogram.counted(np.zeros(3, "float32"), 4, 0.0), [3, 0, 0, 0])

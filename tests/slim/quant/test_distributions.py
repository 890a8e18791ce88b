"""Histograms of what lies where on the grids, against counts by hand."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant import calibrate, distributions, grids, prepare


def network(**options):
    paddle.seed(3)
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    model, _ = prepare(model, QuantOptions(**options))
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(6, 3, 4, 4)).astype("float32"))
    calibrate(model, [images])
    return model, images


@pytest.mark.parametrize("options", [{"name": "pact"}, {"name": "lsq", "weight_bits": 4}, {"name": "qat"}])
def test_counts_are_those_of_values_over_steps(options):
    model, images = network(**options)
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    rows = {row.layer: row for row in distributions(model, images)}
    assert list(rows) == ["0", "3"]
    grid = grids(model)["0"].input
    steps = images.numpy() / grid.scale
    found = rows["0"].input
    assert sum(found.counts) == images.size
    assert (found.low, found.high, found.limit) == (grid.low, grid.high, pytest.approx(grid.limit))
    assert found.clipped == pytest.approx(((steps < grid.low - 0.5) | (steps > grid.high + 0.5)).mean())
    edges = np.linspace(found.start, found.end, len(found.counts) + 1)
    inside = int(((steps >= edges[10]) & (steps < edges[20])).sum())
    assert sum(found.counts[10:20]) == pytest.approx(inside, abs=2)
    weight = rows["3"].weight
    assert sum(weight.counts) == 80
    assert weight.high == 2 ** (options.get("weight_bits", 8) - 1) - 1
    read = rows["3"].input
    ends = np.linspace(read.start, read.end, len(read.counts) + 1)[1:]
    assert not any(count for count, end in zip(read.counts, ends, strict=True) if end < 0)  # after a ReLU
    assert all(np.array_equal(before[name], value.numpy()) for name, value in model.state_dict().items())


def test_values_far_beyond_the_grid_count_in_the_last_bin():
    model, images = network(name="pact")
    found = distributions(model, 50 * images)[0].input
    assert sum(found.counts) == images.size
    assert found.counts[-1] > 20
    assert found.clipped > 0.5


def test_a_network_without_quantized_layers_is_refused():
    with pytest.raises(UserError):
        distributions(nn.Sequential(nn.Linear(2, 2)), paddle.ones([1, 2]))

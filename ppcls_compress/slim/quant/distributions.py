"""How the values of weights and inputs lie on the grids that they are rounded to: histograms, in steps of the grid.

rows = distributions(model, images)
rows[0].input.counts                # of what the first layer reads, by bins of equal width
rows[0].input.low, rows[0].input.high   # the integers between which nothing is clipped
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.foreign import native
from ppcls_compress.slim.quant.inference import grids
from ppcls_compress.slim.quant.input_grid import InputGrid
from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.weights import WeightGrid

BINS = 48
_BEYOND = 0.5
"""So far beyond its grid, in its widths, a histogram reaches at most; what lies further counts in the last bin."""


@dataclass(frozen=True)
class Distribution:
    """Values divided by what one integer stands for, [bins] counts of them.

    Attributes:
        counts: in bins of equal width from `start` to `end`.
        low: the smallest integer of the grid.
        high: the largest.
        bits: of the grid.
        limit: the largest value of the grid, that of the widest channel.
        clipped: share of the values that lie beyond the grid by more than half a step.
    """

    counts: tuple[int, ...]
    start: float
    end: float
    low: int
    high: int
    bits: int
    limit: float
    clipped: float


@dataclass(frozen=True)
class Row:
    """A quantized layer; None for what no grid of ours rounds."""

    layer: str
    weight: Distribution | None
    input: Distribution | None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def distributions(model: paddle.nn.Layer, images: paddle.Tensor) -> list[Row]:
    """The histograms of every quantized layer, in evaluation mode; the model is as it was afterwards.

    Args:
        model: calibrated or trained.
        images: what its layers read comes from these, float32 [N, C, H, W]; of a layer that is called more than once,
            that of the first call.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    model = native(model)
    found, known = required_quant_layers(model), grids(model)
    seen: dict[str, Distribution | None] = {}

    def watcher(name: str):
        def look(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> None:
            grid = known[name].input
            if name not in seen:
                seen[name] = None if grid is None else _of_input(layer.arguments(inputs, named)[0].numpy(), grid)

        return look

    hooks = [layer.register_forward_pre_hook(watcher(name), with_kwargs=True) for name, layer in found.items()]
    try:
        with layers.evaluating(model), paddle.no_grad():
            describing.call(model, images)
            weights = {
                name: None if known[name].weight is None else _of_weight(layer, known[name].weight)
                for name, layer in found.items()
            }
    finally:
        for hook in hooks:
            hook.remove()
    return [Row(name, weights[name], seen.get(name)) for name in found]


def _of_input(values: np.ndarray, grid: InputGrid) -> Distribution:
    values = values.astype(np.float32)
    limit = grid.limit or float(np.abs(values).max()) or 1.0
    steps = values / np.float32(limit / grid.high)
    if grid.factors is not None:
        steps /= np.asarray(grid.factors, np.float32).reshape(-1, 1, 1)
    return _counted(steps, grid.low, grid.high, grid.bits, limit)


def _of_weight(layer: paddle.nn.Layer, grid: WeightGrid) -> Distribution:
    scale = grid.along_axis(np.where(grid.limit > 0, grid.scale, 1.0).astype(np.float32))
    steps = layer.preprocessed_weight().numpy() / scale
    high = fake_quant.levels(grid.bits)
    return _counted(steps, min(-high, int(grid.integers.min())), high, grid.bits, float(grid.limit.max()))


def _counted(steps: np.ndarray, low: int, high: int, bits: int, limit: float) -> Distribution:
    reach = _BEYOND * (high - low)
    start = min(float(low), max(float(steps.min()), low - reach))
    end = max(float(high), min(float(steps.max()), high + reach))
    counts, _ = np.histogram(np.clip(steps, start, end), BINS, (start, end))
    clipped = float(((steps < low - 0.5) | (steps > high + 0.5)).mean())
    return Distribution(tuple(counts.tolist()), start, end, low, high, bits, limit, clipped)

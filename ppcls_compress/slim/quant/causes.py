"""Why a quantized layer is noisy: what its grids and what it reads tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.bias import corrects_bias
from ppcls_compress.slim.quant.inference import LayerGrid
from ppcls_compress.slim.quant.input_grid import InputGrid

KINDS = (
    "outlier channel",
    "dead range",
    "clipping",
    "wrong zero point",
    "asymmetric input",
    "coarse weights",
    "missing bias correction",
    "saturated accumulator",
    "no integer kernel",
)
CHANNEL = "depthwise_ranges: channel"
_MORE_BITS = "leave it out with skip, or activation_bits: 16 for it"
_COARSE_WEIGHT, _SHIFTED_BELOW = 25.0, 30.0
_OUTLIER, _DEAD, _CLIPPED, _LEANING, _UNUSED, _SHIFT = 16.0, 2.0, 0.005, 3.0, 0.15, 0.3
_KERNEL_BITS, _ACCUMULATOR = 8, 2**31 - 1


@dataclass(frozen=True)
class Cause:
    """Why a layer is noisy.

    Attributes:
        kind: one of `KINDS`.
        found: what was seen, in words.
        help: what to do about it.
    """

    kind: str
    found: str
    help: str


@dataclass(frozen=True, eq=False)
class Extent:
    """What was seen of a layer.

    Attributes:
        decibels: ratio of signal to error of its `weight`, `input` and `output`.
        low: smallest value of each channel of its input, float32 [channels].
        high: the largest ones.
        outside: fraction of its input beyond the grid.
        shifted: fraction of its output's error that is a constant of each channel.
        sums: the largest sum of magnitudes of products of integers, an output's.
    """

    decibels: Mapping[str, float]
    low: np.ndarray
    high: np.ndarray
    outside: float
    shifted: float
    sums: float


def largest_sum(
    layer: paddle.nn.Layer, grid: LayerGrid, x: paddle.Tensor, weight: paddle.Tensor, rest: tuple, named: dict[str, Any]
) -> float:
    """The largest sum of |input integer| * |weight integer| over an output of a batch; 0 where it is not known."""
    if grid.input is None or grid.input.limit is None or grid.weight is None or grid.input.factors is not None:
        return 0.0
    sums = layer.compute(x.abs(), weight.abs(), *rest, **named) - layer.compute(x * 0, weight, *rest, **named)
    axis = layers.channel_dimension(layer, sums.ndim)
    largest = sums.astype("float32").max(axis=[other for other in range(sums.ndim) if other != axis]).numpy()
    scale = np.resize(grid.weight.scale, largest.shape)  # of a transposed convolution with groups one for each group
    return float((largest / np.where(scale > 0, scale, 1.0)).max() / grid.input.scale)


def of_layer(layer: paddle.nn.Layer, grid: LayerGrid, seen: Extent) -> list[Cause]:
    """Why the layer is noisy, the likeliest first."""
    known = grid.input is not None and grid.input.limit is not None
    found = _of_input(layer, grid.input, seen) if known else []
    if seen.decibels["weight"] < _COARSE_WEIGHT and grid.weight is not None:
        told = f"its weight on {grid.weight.bits} bits has {seen.decibels['weight']:.0f} dB"
        found.append(Cause("coarse weights", told, "weight_bits: 8 for it, or a range per channel"))
    if seen.shifted > _SHIFT and seen.decibels["output"] < _SHIFTED_BELOW and not corrects_bias(layer):
        told = f"{100 * seen.shifted:.0f}% of its output's error is the same everywhere in a channel"
        found.append(Cause("missing bias correction", told, "bias_correction: true (ptq), or train it"))
    if seen.sums > _ACCUMULATOR:
        told = f"its sums reach {seen.sums:.3g}, an int32 ends at {_ACCUMULATOR:.3g}"
        found.append(Cause("saturated accumulator", told, "fewer bits for it, or leave it out with skip"))
    bits = max((part.bits for part in (grid.input, grid.weight) if part is not None), default=0)
    if bits > _KERNEL_BITS:
        told = f"{bits} bits have no integer kernel"
        found.append(Cause("no integer kernel", told, "8 bits, or leave it out with skip"))
    return found


def _of_input(layer: paddle.nn.Layer, grid: InputGrid, seen: Extent) -> list[Cause]:
    low, high = float(seen.low.min()), float(seen.high.max())
    largest, found = max(-low, high), []
    sizes = np.maximum(-seen.low, seen.high)
    if _is_shifted(grid, seen):
        ends = f"{grid.low * grid.scale:.3g} to {grid.limit:.3g}"
        told = f"its grid goes from {ends}, its input from {low:.3g} to {high:.3g}, which is no wider"
        found.append(Cause("wrong zero point", told, "calibrate anew on images like these"))
    elif seen.outside > _CLIPPED:
        told = f"{100 * seen.outside:.1f}% of its input lie beyond the grid, which ends at {grid.limit:.3g}"
        found.append(Cause("clipping", told, "a wider range: activation_quantizer: AbsmaxQuantizer, or more images"))
    if grid.limit > _DEAD * largest > 0:
        told = f"its grid ends at {grid.limit:.3g}, its input at {largest:.3g}"
        found.append(Cause("dead range", told, "calibrate anew on images like these"))
    if grid.factors is None and np.median(sizes) > 0 and sizes.max() > _OUTLIER * np.median(sizes):
        told = (
            f"channel {int(sizes.argmax())} reaches {sizes.max():.3g}, half of them not beyond {np.median(sizes):.3g}"
        )
        depthwise = layers.is_depthwise(layer)
        found.append(Cause("outlier channel", told, CHANNEL if depthwise else _MORE_BITS))
    signed = grid.zero_point is None and not grid.unsigned
    if signed and min(-low, high) * _LEANING < largest:
        told = f"its input lies between {low:.3g} and {high:.3g}, its grid is symmetric"
        found.append(Cause("asymmetric input", told, "asymmetric: auto"))
    return found


def _is_shifted(grid: InputGrid, seen: Extent) -> bool:
    """Whether a grid that is wide enough ends too early on one side, and too late on the other."""
    if grid.zero_point is None or seen.outside <= _CLIPPED:
        return False
    scales = np.resize(grid.scales, seen.low.shape)
    low, high = float((seen.low / scales).min()), float((seen.high / scales).max())
    span = grid.high - grid.low
    over, under = (high - grid.high) / span, (grid.low - low) / span
    return min(over, under) < -_UNUSED < 0 < max(over, under) and high - low < span * (1 + _UNUSED)

"""Bias correction: what rounding the weights shifts a layer's output by on average is taken off its bias.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2: the mean
of a linear layer's error is the layer of the error of its weight on the mean of its input. The mean input is taken
from calibration images, over the images and not over the places in them, so that padding and strides count as they
are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer


@dataclass
class _Mean:
    """Of the inputs of one shape: their sum, how many there were, and what else the layer was given."""

    total: np.ndarray
    count: int
    rest: tuple
    named: dict[str, Any]


class InputMeans:
    """Collects the mean inputs of layers, then corrects their biases.

    Args:
        found: quantized layers by name, each with a bias.
    """

    def __init__(self, found: Mapping[str, paddle.nn.Layer]) -> None:
        self._found = found
        self._means: dict[str, dict[tuple[int, ...], _Mean]] = {name: {} for name in found}

    def add(self, name: str, count: int, total: np.ndarray, rest: tuple, named: dict[str, Any]) -> None:
        """Take in the sum [1, ...] of `count` inputs of a layer, and what else the layer was given."""
        if name not in self._means:
            return
        known = self._means[name].get(total.shape)
        if known is None:
            self._means[name][total.shape] = _Mean(total, count, rest, named)
        else:
            known.total += total
            known.count += count

    def correct(self) -> None:
        """Add the mean of (output of the float weight - output of the rounded weight) to each bias, in place."""
        with paddle.no_grad():
            for name, layer in self._found.items():
                shift = _shift(layer, list(self._means[name].values()))
                layer.bias.set_value((layer.bias.numpy() + shift).astype(np.float32))


def _shift(layer: paddle.nn.Layer, means: list[_Mean]) -> np.ndarray:
    weight, rounded = layer.weight, layer.quantized_weight()
    shifts = []
    for mean in means:
        x = paddle.to_tensor(mean.total / mean.count)
        pair = [layer.compute(x, value, *mean.rest, **mean.named) for value in (weight, rounded)]
        difference = (pair[0] - pair[1]).astype("float32")
        channels = layers.channel_dimension(layer, difference.ndim)
        shifts.append(difference.mean(axis=[axis for axis in range(difference.ndim) if axis != channels]).numpy())
    return np.average(shifts, axis=0, weights=[mean.count for mean in means])


def corrects_bias(layer: paddle.nn.Layer) -> bool:
    """Whether the layer's options ask for bias correction."""
    inputs = placement.quantizers(layer._fake_quant_input)[0]
    inputs = inputs.source if isinstance(inputs, placement.RoundedBefore) else inputs
    return isinstance(inputs, ActivationQuantizer) and inputs.corrects_bias

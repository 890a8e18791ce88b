"""Quantizers of weights: layers that round a weight, and say on which grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import fake_quant


@dataclass(frozen=True)
class WeightGrid:
    """A rounded weight as integers: weight = integers * scale along `axis`.

    Attributes:
        integers: int8, or int16 above 8 bits, in the weight's shape.
        scale: float32 [channels] along `axis`, or [1] for one grid.
        axis: the output channels' axis.
        bits: 2 to 16.
    """

    integers: np.ndarray
    scale: np.ndarray
    axis: int
    bits: int


class WeightQuantizer(paddle.nn.Layer):
    """Rounds a weight to a grid of `bits` bits; `axis` is that of the output channels."""

    def __init__(self, bits: int, axis: int) -> None:
        super().__init__()
        self.bits = bits
        self.axis = axis

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The largest value of the grid, [1] or one per channel."""
        return paddle.max(weight.abs()).reshape([1])

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"bits={self.bits}, axis={self.axis}"

    def grid(self, weight: paddle.Tensor) -> WeightGrid:
        """The rounded weight as integers."""
        with paddle.no_grad():
            rounded = self(weight).numpy()
            limits = self.limits(weight).numpy()
        levels = fake_quant.levels(self.bits)
        scale = (limits / levels).astype(np.float32)
        shape = [1] * rounded.ndim
        shape[self.axis] = scale.size
        # A channel of zeros has no range; its integers are zeros on any scale.
        divisor = np.where(scale > 0, scale, 1.0).reshape(shape if scale.size > 1 else [1])
        integers = np.rint(rounded.astype(np.float64) / divisor).clip(-levels - 1, levels)
        return WeightGrid(integers.astype(np.int8 if self.bits <= 8 else np.int16), scale, self.axis, self.bits)


class ChannelWiseAbsMaxWeight(WeightQuantizer):
    """Range: the largest magnitude of each output channel."""

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        """Round `weight`; the gradient passes straight through."""
        return fake_quant.round_weight(weight, self.bits, self.axis)[0]

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The largest magnitude of each output channel."""
        return fake_quant.round_weight(weight, self.bits, self.axis)[1]


class AbsMaxWeight(WeightQuantizer):
    """Range: the largest magnitude of the whole weight."""

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        """Round `weight`; the gradient passes straight through."""
        return fake_quant.round_by_abs_max(weight, self.bits)[0]


_TYPES = {"channel_wise_abs_max": ChannelWiseAbsMaxWeight, "abs_max": AbsMaxWeight}


def build(options: QuantOptions, axis: int) -> WeightQuantizer:
    """The weight quantizer that the options ask for."""
    return _TYPES[options.weight_quantize_type](options.weight_bits, axis)

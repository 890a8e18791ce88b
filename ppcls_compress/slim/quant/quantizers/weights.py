"""Quantizers of weights: layers that round a weight, and say on which grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import _C_ops

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers import fake_quant, learned, lsq
from ppcls_compress.slim.quant.quantizers.base import MovingAverageRange, Quantizer, WindowRange


@dataclass(frozen=True)
class WeightGrid:
    """A rounded weight as integers: weight = integers * limit / levels, the limits along `axis`.

    Attributes:
        integers: int8, or int16 above 8 bits, in the weight's shape.
        limit: float32 [channels], or [1] for one grid.
        axis: the output channels' axis.
        bits: 2 to 16.
    """

    integers: np.ndarray
    limit: np.ndarray
    axis: int
    bits: int

    @property
    def levels(self) -> int:
        """The integer that stands for the limit."""
        return fake_quant.levels(self.bits)

    @property
    def scale(self) -> np.ndarray:
        """What an integer is multiplied by, float32 [channels] or [1]."""
        return (self.limit / self.levels).astype(np.float32)

    def along_axis(self, values: np.ndarray) -> np.ndarray:
        """Per-channel values in a shape that broadcasts over the weight."""
        shape = [1] * self.integers.ndim
        shape[self.axis] = values.size
        return values.reshape(shape)

    def scaled(self, factor: np.ndarray) -> WeightGrid:
        """The weight times a factor per channel: its sign goes to the integers, its size to the limit.

        A step of the lowest integer is lost where its sign turns: +128 does not exist in int8.
        """
        signs = self.along_axis(np.where(factor < 0, -1, 1))
        highest = np.iinfo(self.integers.dtype).max
        integers = np.minimum(self.integers.astype(np.int32) * signs, highest).astype(self.integers.dtype)
        return WeightGrid(integers, (self.limit * np.abs(factor)).astype(np.float32), self.axis, self.bits)


class WeightQuantizer(Quantizer):
    """Rounds a weight; `axis` is that of its output channels."""

    axis: int

    def start(self, weight: paddle.Tensor) -> None:
        """Start a range that has a state from the weight; the others need no start."""

    def _not_started(self) -> UserError:
        return UserError(
            f"{self.layer_name}: the range of its weight starts in the first forward pass, of which there was none; "
            "call slim.quant.calibrate(model, batches), or load a state, before the network is traced"
        )

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The largest value of the grid, [1] or one per channel."""
        return weight.abs().max().reshape([1])

    def grid(self, weight: paddle.Tensor) -> WeightGrid:
        """The rounded weight as integers, in evaluation mode."""
        with paddle.no_grad():
            rounded = self(weight).numpy()
            limit = self.limits(weight).numpy()
        levels = fake_quant.levels(self.bits)
        empty = WeightGrid(rounded, limit, self.axis, self.bits)
        # A channel of zeros has no range; its integers are zeros on any scale.
        divisor = empty.along_axis(np.where(limit > 0, limit, 1.0)).astype(np.float64) / levels
        integers = np.rint(rounded / divisor).clip(-levels - self.full_range, levels)
        return WeightGrid(integers.astype(np.int8 if self.bits <= 8 else np.int16), limit, self.axis, self.bits)


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


def least_squares_shares(rows: np.ndarray, levels: int) -> np.ndarray:
    """The share of each row's largest magnitude whose grid has the least squared error, float32 [rows].

    Args:
        rows: float32 [rows, values]; a row of zeros has a share of 1.
        levels: the integer that stands for the range.
    """
    magnitudes = np.abs(rows)
    largest = magnitudes.max(axis=1, keepdims=True)
    unit = np.where(largest > 0, largest, 1.0) / levels
    found, least = np.ones(len(rows), np.float32), np.full(len(rows), np.inf)
    for share in _SHARES:
        step = unit * share
        error = np.square(np.minimum(np.rint(magnitudes / step), levels) * step - magnitudes).sum(axis=1)
        better = error < least
        found[better], least[better] = share, error[better]
    return found


_SHARES = np.linspace(1.0, 0.05, 39, dtype=np.float32)


class ShareOfLargestWeight(WeightQuantizer):
    """Range: a share of the largest magnitude, of the whole weight or of each output channel.

    The share is the one with the least squared error for the first weight that it sees, and stays. On 2 bits, whose
    levels are -1, 0 and 1, the largest of some hundred values rounds nine of ten of the others to zero.

    State: `_share`, float32 [1] or [channels]; 0 throughout before it is known.
    """

    def __init__(self, layer_name: str, bits: int, channels: int | None) -> None:
        super().__init__(layer_name, bits)
        self._whole, self._known = channels is None, False
        self.register_buffer("_share", paddle.zeros([channels or 1]))

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        """Round `weight`; the gradient passes straight through, to what lies beyond the range as well."""
        return fake_quant.straight_through(weight, self._rounded_to_share)

    def forget(self) -> None:
        """Look again whether the share has a value."""
        self._known = False

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The range, [1] or [channels]."""
        if not self._known:
            self.start(weight)
        if self._whole:
            return super().limits(weight) * self._share
        return fake_quant.round_weight(weight, self.bits, self.axis)[1] * self._share

    def start(self, weight: paddle.Tensor) -> None:
        """Find the share, unless it has a value."""
        if not self.stored("_share").any():
            if not paddle.in_dynamic_mode():
                raise self._not_started()
            values = weight.numpy()
            rows = values if self._whole else np.moveaxis(values, self.axis, 0)
            self._share.set_value(
                least_squares_shares(rows.reshape(len(self._share), -1), fake_quant.levels(self.bits))
            )
        self._known = True

    def _rounded_to_share(self, weight: paddle.Tensor) -> paddle.Tensor:
        limit = self.limits(weight)
        if not self._whole:
            shape = [1] * weight.ndim
            shape[self.axis] = -1
            limit = limit.reshape(shape)
        held = paddle.maximum(paddle.minimum(weight, limit), -limit)
        # The largest magnitude of what is cut off is the range itself.
        if self._whole:
            return fake_quant.round_by_abs_max(held, self.bits)[0]
        return fake_quant.round_weight(held, self.bits, self.axis)[0]


class _ObservedWeight(WeightQuantizer):
    """An observed range of a weight: it can always start from the weight itself."""

    def start(self, weight: paddle.Tensor) -> None:
        """Start from the weight's largest magnitude."""
        self.start_from([weight.abs().max().item()])

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The range as observed so far."""
        return self._scale

    def _start(self, x: paddle.Tensor) -> None:
        if not paddle.in_dynamic_mode():
            raise self._not_started()
        self.start(x)


class MovingAverageWeight(_ObservedWeight, MovingAverageRange):
    """Range: the moving average of the weight's largest magnitude over the training steps."""


class RangeAbsMaxWeight(_ObservedWeight, WindowRange):
    """Range: the largest magnitude of the weight in the last training steps."""


class LsqWeight(WeightQuantizer):
    """LSQ: a trained step size for the weight, or one per output channel.

    It starts where the squared error of the first weight that it sees is least, see `lsq`, and in training moves by at
    most a tenth per step.
    """

    full_range = True

    def __init__(self, layer_name: str, bits: int, channels: int) -> None:
        super().__init__(layer_name, bits)
        self.s = self.create_parameter(
            [channels],
            paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0)),
            default_initializer=paddle.nn.initializer.Constant(0.0),
        )
        self.register_buffer("_previous", paddle.zeros([channels]))
        self._started = False

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        """Round `weight`."""
        if not paddle.in_dynamic_mode():
            if not self.stored("s").any():
                raise self._not_started()
            return lsq.round_weight(weight, self._current(), self.bits, self._shape(weight))
        if not self._started:
            self.start(weight)
        if self.training:
            _C_ops.assign_out_(self._current(), self.s)
            _C_ops.assign_out_(self.s, self._previous)
        return lsq.LsqWeightFunction.apply(weight, self.s, self._current(), self.bits, self._shape(weight))

    def forget(self) -> None:
        """Look again whether the step size has a value."""
        self._started = False

    def limits(self, weight: paddle.Tensor) -> paddle.Tensor:
        """The largest value of each grid."""
        return self._current() * fake_quant.levels(self.bits)

    def _current(self) -> paddle.Tensor:
        with paddle.no_grad():
            low, high = self._previous * (1 - learned.STEP_LIMIT), self._previous * (1 + learned.STEP_LIMIT)
            return learned.restrained(self.s, low, high)

    def _shape(self, weight: paddle.Tensor) -> list[int]:
        shape = [1] * weight.ndim
        shape[self.axis] = self.s.size
        return shape

    def start(self, weight: paddle.Tensor) -> None:
        """Start the step sizes from the weight, unless they have values."""
        self._started = True
        if (self.s.numpy() != 0).any():
            return
        rows = np.moveaxis(weight.numpy(), self.axis, 0).reshape(self.s.size, -1)
        levels = fake_quant.levels(self.bits)
        steps = np.abs(rows).max(axis=1) * least_squares_shares(rows, levels) / levels
        # A channel of zeros says nothing of its range; any positive one is exact for it.
        steps = np.where(steps > 0, steps, 1.0).astype(np.float32)
        self.s.set_value(steps)
        self._previous.set_value(steps)


_BY_PTQ_NAME = {"PerChannelAbsmaxQuantizer": "channel_wise_abs_max", "AbsmaxQuantizer": "abs_max"}


def build(layer_name: str, options: QuantOptions, weight: paddle.Tensor, axis: int) -> WeightQuantizer:
    """The quantizer that the options ask for, for a weight whose output channels are along `axis`."""
    kind = options.weight_quantize_type or _BY_PTQ_NAME[options.weight_quantizer]
    bits = options.weight_bits
    quantizer: WeightQuantizer
    if kind in ("channel_wise_abs_max", "abs_max") and options.holds_share(bits):
        channels = weight.shape[axis] if kind == "channel_wise_abs_max" else None
        quantizer = ShareOfLargestWeight(layer_name, bits, channels)
    elif kind == "channel_wise_abs_max":
        quantizer = ChannelWiseAbsMaxWeight(layer_name, bits)
    elif kind == "abs_max":
        quantizer = AbsMaxWeight(layer_name, bits)
    elif kind == "moving_average_abs_max":
        quantizer = MovingAverageWeight(layer_name, bits, options.moving_rate)
    elif kind == "range_abs_max":
        quantizer = RangeAbsMaxWeight(layer_name, bits, options.window_size)
    else:
        quantizer = LsqWeight(layer_name, bits, weight.shape[axis] if kind == "channel_wise_lsq_weight" else 1)
    quantizer.axis = axis
    return quantizer


def build_preprocess(layer_name: str, options: QuantOptions) -> paddle.nn.Layer | None:
    """The clip before the weight quantizer, or None."""
    if options.weight_preprocess_type != "PACT":
        return None
    if not options.compat:
        return learned.ClipWeightByAlpha(layer_name, options, options.weight_bits)
    clip = learned.PaddleSlimPact()
    clip.counts_whole = True
    return clip

"""Quantizers of activations whose range is found by looking at the data, and the choice among all of them."""

from __future__ import annotations

import paddle

from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers import fake_quant, learned, learned_ends, ranges, two_ended
from ppcls_compress.slim.quant.quantizers.base import (
    ActivationQuantizer,
    HistogramPerBatch,
    MovingAverageRange,
    WindowRange,
)
from ppcls_compress.slim.quant.quantizers.channelwise import Channelwise


class _OneSided(ActivationQuantizer):
    """A quantizer that is told whether its input can be negative.

    Attributes:
        non_negative: put all levels on the non-negative side.
    """

    non_negative: bool = False

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return self.non_negative


class _ObservedActivation(_OneSided):
    """An observed range of an activation: calibrated from batches, refused in evaluation before that."""

    def limit(self) -> float:
        """The range as observed so far."""
        if not self._started():
            raise self._uncalibrated()
        return self._scale.item()

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Start from the batches alone."""
        self.start_from([batch.largest for batch in seen.batches])
        self.lopsided = not self.unsigned and two_ended.is_lopsided(seen.batches, self.bits)

    def _start(self, x: paddle.Tensor) -> None:
        raise self._uncalibrated()


class MovingAverage(_ObservedActivation, MovingAverageRange):
    """Range: the moving average of each batch's largest magnitude."""


class PaddleSlimMovingAverage(MovingAverage):
    """The moving average from PaddleSlim's start, whatever calibration saw."""

    def limit(self) -> float:
        """The moving average."""
        return self._scale.item()

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Nothing: PaddleSlim does not calibrate."""

    def _started(self) -> bool:
        return True


class RangeAbsMax(_ObservedActivation, WindowRange):
    """Range: the largest magnitude of the last batches."""


class AbsMax(ActivationQuantizer):
    """Range: the largest magnitude of the batch itself, in training and evaluation alike."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape."""
        return fake_quant.straight_through(x, lambda x: fake_quant.round_by_abs_max(x, self.bits)[0])


class Fixed(_OneSided):
    """Range: set once by calibration, as after-training quantization does."""

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options = options
        self._checked = False
        self.register_buffer("_scale", paddle.zeros([1]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; the gradient passes straight through."""
        # Reading waits for the device, which a training step must not do.
        if not (self.training and self._checked):
            self._checked = self.limit() > 0
        return fake_quant.straight_through(x, self._rounded)

    def forget(self) -> None:
        """Look again whether the range has a value."""
        self._checked = False

    @property
    def corrects_bias(self) -> bool:
        """Whether calibration shifts the layer's bias too."""
        return self._options.bias_correction

    def limit(self) -> float:
        """The range."""
        scale = self.stored("_scale").item()
        if scale <= 0:
            raise self._uncalibrated()
        return scale

    def observer(self) -> ranges.RangeObserver:
        """The method that the options name."""
        return ranges.build(self._options)

    def calibrate(self, seen: ranges.RangeObserver) -> None:
        """Take the observer's range."""
        # An input that was zero throughout says nothing of its range; any positive one is exact for it.
        self._scale.set_value(paddle.full([1], seen.range() or 1.0))


class UnitRange(ActivationQuantizer):
    """Range: 0 to 1, where gates lie; nothing to learn or to calibrate."""

    def __init__(self, layer_name: str, bits: int, *, unsigned: bool) -> None:
        super().__init__(layer_name, bits)
        self._unsigned = unsigned
        self.register_buffer("_one", paddle.ones([1]), persistable=False)

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return self._unsigned

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; the gradient passes straight through."""
        return fake_quant.straight_through(x, self._rounded)

    def limit(self) -> float:
        """1."""
        return 1.0

    def current_limit(self) -> paddle.Tensor:
        """1."""
        return self._one


def build(layer_name: str, options: QuantOptions) -> ActivationQuantizer:
    """The activation quantizer that the options ask for."""
    # A grid of 16 bits has no room for another zero point.
    if options.asymmetric and options.activation_bits < 16 and options.unsigned in (None, "auto"):
        return _two_ended(layer_name, options)
    if options.name == "ptq":
        return Fixed(layer_name, options)
    if options.name == "lsq":
        return learned.LsqActivation(layer_name, options)
    if options.grid == "alpha":
        return learned.LearnedAlpha(layer_name, options)
    if options.grid == "moving_average" and not options.compat:
        return learned.LearnedAlphaMovingAverage(layer_name, options)
    bits = options.activation_bits
    if _observes_share(options):
        return two_ended.ShareOfAverageEnds(layer_name, options)
    if options.activation_quantize_type == "abs_max":
        return AbsMax(layer_name, bits)
    if options.activation_quantize_type == "range_abs_max":
        return RangeAbsMax(layer_name, bits, options.window_size)
    average = PaddleSlimMovingAverage if options.compat else MovingAverage
    return average(layer_name, bits, options.moving_rate)


def _two_ended(layer_name: str, options: QuantOptions) -> two_ended.TwoEnded:
    if options.name == "ptq":
        return two_ended.FixedEnds(layer_name, options)
    if options.name == "lsq":
        return learned_ends.LsqEnds(layer_name, options)
    if options.name == "pact":
        return learned_ends.LearnedClip(layer_name, options)
    return (two_ended.ShareOfAverageEnds if _observes_share(options) else two_ended.AverageEnds)(layer_name, options)


def _observes_share(options: QuantOptions) -> bool:
    observes = options.name == "qat" and options.activation_quantize_type == "moving_average_abs_max"
    return observes and options.holds_share(options.activation_bits)


def build_for_depthwise(layer_name: str, options: QuantOptions, channels: int) -> ActivationQuantizer:
    """The quantizer of what a depthwise convolution reads, with a range per channel where the options ask for it."""
    if options.depthwise_ranges == "channel" and options.activation_bits < 16:
        return Channelwise(_two_ended(layer_name, options), channels, options)
    return build(layer_name, options)


def build_placed(
    layer_name: str, options: QuantOptions, *, non_negative: bool, unit_range: bool, channels: int | None = None
) -> ActivationQuantizer:
    """The quantizer of a place: on the grid of integer kernels, from the lowest integer on, halves to even.

    Args:
        layer_name: for messages.
        options: of the section; with `unsigned: false` every grid is signed, as TensorRT wants it.
        non_negative: what the network says of the tensor; a range that is learned finds out by itself.
        unit_range: whether the tensor lies between 0 and 1.
        channels: of a tensor that a depthwise convolution alone reads; None for others.
    """
    one_sided = options.unsigned is not False
    if unit_range:
        quantizer = UnitRange(layer_name, options.activation_bits, unsigned=one_sided)
    elif channels is not None:
        quantizer = build_for_depthwise(layer_name, options, channels)
    else:
        quantizer = build(layer_name, options)
    quantizer.full_range = quantizer.placed = True
    if isinstance(quantizer, _OneSided):
        quantizer.non_negative = non_negative and one_sided
    return quantizer


def build_preprocess(layer_name: str, options: QuantOptions, *, alone: bool = False) -> paddle.nn.Layer | None:
    """The clip before an activation quantizer that does not clip by alpha itself, or None.

    `alone`: the quantizer is the user's own.
    """
    if options.activation_preprocess_type is None:
        return None
    if options.compat:
        return learned.PaddleSlimPact()
    return learned.ClipByAlpha(layer_name, options) if options.grid is None or alone else None

"""Quantizers whose range is trained: PACT and LSQ."""

from __future__ import annotations

import math
from typing import ClassVar

import paddle
from paddle import _C_ops

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import fake_quant, lsq, pact
from ppcls_compress.slim.quant.histogram import Histogram
from ppcls_compress.slim.quant.quantizers import ActivationQuantizer, HistogramPerBatch, register_average, start_average

# The most that a range may change from one training step to the next. A single large gradient can then neither turn it
# negative nor throw it so far above the data that no gradient ever reaches it again, whatever the scale of the input.
STEP_LIMIT = 0.1


def restrain(parameter: paddle.Tensor, previous: paddle.Tensor) -> paddle.Tensor:
    """Bring a positive parameter to within a tenth of its previous value, in place; `previous` follows.

    Returns:
        The value, apart from the parameter.
    """
    with paddle.no_grad():
        nearest = paddle.maximum(parameter, previous * (1 - STEP_LIMIT))
        nearest = paddle.minimum(nearest, previous * (1 + STEP_LIMIT))
        _C_ops.assign_out_(nearest, parameter)
        _C_ops.assign_out_(nearest, previous)
    return nearest


class LearnedRange(ActivationQuantizer):
    """A trained parameter that sets the range, two-sided or one-sided.

    The one-sided form, clip(x, 0, limit) on an unsigned grid, is chosen at calibration for inputs that were never
    negative. What was not calibrated calibrates from its first training batch. In training the parameter moves by at
    most a tenth per step, so that it stays positive.

    State: the parameter; `_sides`: 0 not calibrated, 1 one-sided, 2 two-sided; `_previous`: the parameter's value in
    the last training step.
    """

    parameter_name: ClassVar[str]

    def __init__(self, layer_name: str, options: QuantOptions, attributes: paddle.ParamAttr) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options = options
        start = paddle.nn.initializer.Constant(0.0)
        setattr(self, self.parameter_name, self.create_parameter([1], attributes, default_initializer=start))
        self.register_buffer("_previous", paddle.zeros([1]))
        self.register_buffer("_sides", paddle.zeros([1]))
        self._known_sides: int | None = None
        self._clipped: paddle.Tensor | None = None
        self._counted = 0

    @property
    def unsigned(self) -> bool:
        """Whether the one-sided form is in use."""
        return self._read_sides() == 1

    @property
    def learned(self) -> paddle.Tensor:
        """The parameter."""
        return getattr(self, self.parameter_name)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip and round `x`, any shape, float32."""
        training = self.training and paddle.in_dynamic_mode()
        if training and not self._sides_known():
            self._calibrate_from(x)
        unsigned = self._read_sides() == 1
        value = restrain(self.learned, self._previous) if training else self.learned.detach()
        if training:
            self._count_clipped(x, self._limit_of(value, unsigned), unsigned)
        return self._apply(x, value, unsigned)

    def range(self) -> float:
        """What the parameter says, whatever grid follows."""
        return self._limit_of(self.learned, self.unsigned).item()

    def limit(self) -> float:
        """The largest value of the grid."""
        return self.range()

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Choose the form and the parameter."""
        total = Histogram.merged(seen.batches)
        one_sided = self._one_sided(total)
        # An input that was zero throughout says nothing of its range; any positive one is exact for it.
        value = self._choose(total, one_sided) or 1.0
        for tensor, number in ((self.learned, value), (self._previous, value), (self._sides, 1 if one_sided else 2)):
            tensor.set_value(paddle.full([1], number))
        self._known_sides = None

    def clip_rate(self, reset: bool = True) -> float | None:
        """Fraction of the inputs clipped since the last reset, over the first sample of each training batch."""
        rate = self._clipped.item() / self._counted if self._counted else None
        if reset:
            self._clipped, self._counted = None, 0
        return rate

    def _apply(self, x: paddle.Tensor, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        raise UserError(f"{type(self).__name__} does not say how it rounds")

    def _choose(self, seen: Histogram, unsigned: bool) -> float:
        raise UserError(f"{type(self).__name__} does not say how it starts")

    def _one_sided(self, seen: Histogram) -> bool:
        wanted = self._options.unsigned
        return wanted is True or (wanted == "auto" and not seen.negative and self.bits < 16)

    def _limit_of(self, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        return value

    def _sides_known(self) -> bool:
        # Reading waits for the device, so training steps that follow each other remember the answer.
        if paddle.in_dynamic_mode() and (self._known_sides is None or not self.training):
            self._known_sides = int(self._sides.item()) or None
        return self._known_sides is not None

    def _read_sides(self) -> int:
        if not self._sides_known():
            raise self._uncalibrated()
        return self._known_sides

    def _calibrate_from(self, x: paddle.Tensor) -> None:
        if paddle.distributed.get_world_size() > 1:
            raise self._uncalibrated()
        seen = self.observer()
        values = x.astype("float32").numpy()
        seen.add(values)
        self.calibrate(seen)

    def _count_clipped(self, x: paddle.Tensor, limit: paddle.Tensor, unsigned: bool) -> None:
        with paddle.no_grad():
            sample = x[:1] if unsigned else x[:1].abs()
            rate = (sample >= limit).astype("float32").mean()
        self._clipped = rate if self._clipped is None else self._clipped + rate
        self._counted += 1


def _alpha_attributes(options: QuantOptions) -> paddle.ParamAttr:
    decay = paddle.regularizer.L2Decay(options.alpha_weight_decay)
    return paddle.ParamAttr(learning_rate=options.alpha_learning_rate, regularizer=decay)


class LearnedAlpha(LearnedRange):
    """PACT on the grid of alpha itself: y = round(clip(x, -alpha, alpha)), alpha trained."""

    parameter_name = "alpha"

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options, _alpha_attributes(options))

    def _apply(self, x: paddle.Tensor, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        if fake_quant.needs_gradient(x, self.alpha):
            return pact.Pact.apply(x, self.alpha, value, unsigned, self._quantize)
        return self._quantize(x, value, unsigned)[0]

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The rounded tensor, and one that is +-alpha wherever `x` was clipped."""
        rounded = fake_quant.round_to_grid(x, alpha, self.bits, unsigned)
        return rounded, rounded

    def _choose(self, seen: Histogram, unsigned: bool) -> float:
        if self._options.alpha_init == "percentile":
            return seen.percentile(self._options.alpha_percentile)
        return seen.least_squares(fake_quant.levels(self.bits, unsigned))


class LearnedAlphaMovingAverage(LearnedAlpha):
    """PACT on PaddleSlim's grid: clip by alpha, then round on the moving average of the largest magnitude.

    In evaluation the range is the smaller of alpha and the moving average: one range, as an exported graph can hold.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options)
        self.observing = True
        self.rate = options.moving_rate
        register_average(self)

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Choose alpha and the form, and start the average from the batches."""
        super().calibrate(seen)
        alpha = self.alpha.item()
        start_average(self, [min(batch.largest, alpha) for batch in seen.batches])

    def limit(self) -> float:
        """The smaller of alpha and the moving average."""
        return min(self.range(), self._scale.item())

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> tuple[paddle.Tensor, paddle.Tensor]:
        if not self.training:
            return super()._quantize(x, paddle.minimum(alpha, self._scale), unsigned)
        clipped = pact.clip(x, alpha, unsigned)
        if not self.observing:
            return fake_quant.round_to_grid(clipped, self._scale, self.bits, unsigned), clipped
        rounded = fake_quant.round_by_moving_average(
            clipped, self._scale, self._accum, self._state, bits=self.bits, rate=self.rate, unsigned=unsigned
        )
        return rounded, clipped


class ClipByAlpha(LearnedAlpha):
    """y = clip(x, -alpha, alpha), alpha trained, before a quantizer that finds its own range."""

    def __init__(self, layer_name: str, options: QuantOptions, bits: int) -> None:
        super().__init__(layer_name, options)
        self.bits = bits

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> tuple[paddle.Tensor, paddle.Tensor]:
        clipped = pact.clip(x, alpha, unsigned)
        return clipped, clipped


class ClipWeightByAlpha(ClipByAlpha):
    """The clip before a weight quantizer; it calibrates from the weight itself."""

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options, options.weight_bits)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip a weight."""
        if paddle.in_dynamic_mode() and not self._sides_known():
            self._calibrate_from(x)
        return super().forward(x)

    def _one_sided(self, seen: Histogram) -> bool:
        return False


class LsqActivation(LearnedRange):
    """LSQ: y = round(clip(x / s, -2^(b-1), 2^(b-1) - 1)) * s, the step size s trained."""

    parameter_name = "s"
    full_range = True

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options, paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0)))

    def _apply(self, x: paddle.Tensor, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        if not fake_quant.needs_gradient(x, self.s):
            return lsq.round_activation(x, value, self.bits, unsigned)
        features = math.prod(x.shape[1:])
        return lsq.LsqActivationFunction.apply(x, self.s, value, self.bits, unsigned, features)

    def _limit_of(self, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        return value * fake_quant.levels(self.bits, unsigned)

    def _choose(self, seen: Histogram, unsigned: bool) -> float:
        return 2 * seen.mean() / math.sqrt(fake_quant.levels(self.bits, unsigned))


class PaddleSlimPact(paddle.nn.Layer):
    """PaddleSlim's PACT, literally: alpha starts at 100 and learns 1000 times as fast as the optimizer says."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = self.create_parameter(
            [1],
            paddle.ParamAttr(learning_rate=1000.0),
            default_initializer=paddle.nn.initializer.Constant(100.0),
        )

    def range(self) -> float:
        """Alpha."""
        return self.alpha.item()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x - relu(x - alpha) + relu(-alpha - x)."""
        relu = paddle.nn.functional.relu
        return x - relu(x - self.alpha) + relu(-self.alpha - x)

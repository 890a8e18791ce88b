"""Quantizers whose range is trained: PACT and LSQ."""

from __future__ import annotations

import math

import numpy as np
import paddle
from paddle import _C_ops

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers import fake_quant, lsq, pact
from ppcls_compress.slim.quant.quantizers.base import (
    ActivationQuantizer,
    CountsClipped,
    HistogramPerBatch,
    register_average,
    start_average,
)
from ppcls_compress.slim.quant.quantizers.histogram import Histogram
from ppcls_compress.slim.quant.quantizers.two_ended import is_lopsided

# The most that a range may change from one training step to the next, as a fraction. A single large gradient can then
# not throw it so far above the data that no gradient ever reaches it again.
STEP_LIMIT = 0.1
_TINY = 1e-30

Clipped = tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]
"""A rounded tensor, one that is +-bound wherever the input was clipped, and that bound."""


class LearnedRange(CountsClipped, ActivationQuantizer):
    """A trained parameter that sets the range, two-sided or one-sided.

    The one-sided form, clip(x, 0, limit) on an unsigned grid, is chosen at calibration for inputs that were never
    negative. What was not calibrated calibrates from its first training batch. In training the range changes by at most
    a tenth per step.

    A subclass says with `_apply(x, value, unsigned)` how it rounds, with `_choose(histogram, unsigned)` which limit to
    start from, and with `_limit_of` and `_parameter_of` how limit and parameter belong together.

    State: the parameter; `_sides`: 0 not calibrated, 1 one-sided, 2 two-sided; `_previous`: the parameter's value in
    the last training step.
    """

    def __init__(self, layer_name: str, options: QuantOptions, bits: int) -> None:
        super().__init__(layer_name, bits)
        self._options = options
        self.register_buffer("_previous", paddle.zeros([1]))
        self.register_buffer("_sides", paddle.zeros([1]))
        self._known_sides: int | None = None

    @property
    def unsigned(self) -> bool:
        """Whether the one-sided form is in use."""
        if not self._sides_known():
            raise self._uncalibrated()
        return self._known_sides == 1

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip and round `x`, any shape, float32."""
        training = self.training and paddle.in_dynamic_mode()
        if training and not self._sides_known():
            self._calibrate_from_first_batch(x)
        unsigned = self.unsigned
        with paddle.no_grad():
            value = restrained(self.learned, *self._reach())
            if training:
                _C_ops.assign_out_(value, self.learned)
                _C_ops.assign_out_(value, self._previous)
                self._count_clipped(x, self._limit_of(value, unsigned), unsigned)
        return self._apply(x, value, unsigned)

    def range(self) -> float:
        """What the parameter says, whatever grid follows."""
        unsigned = self.unsigned
        with paddle.no_grad():
            return self._limit_of(restrained(self.learned, *self._reach()), unsigned).item()

    def limit(self) -> float:
        """The largest value of the grid."""
        return self.range()

    def current_limit(self) -> paddle.Tensor:
        """The largest value of the grid, [1], without a look at the number."""
        return self._limit_of(restrained(self.learned, *self._reach()), self.unsigned)

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Choose the form and the range."""
        total = Histogram.merged(seen.batches)
        unsigned = self._one_sided(total)
        self.lopsided = not unsigned and is_lopsided(seen.batches, self.bits)
        # An input that was zero throughout says nothing of its range; any positive one is exact for it.
        self.set_range(self._choose(total, unsigned) or 1.0, unsigned)

    def set_range(self, limit: float, unsigned: bool = False) -> None:
        """Set the largest value of the grid, and the form."""
        value = self._parameter_of(limit, unsigned)
        for tensor, number in ((self.learned, value), (self._previous, value), (self._sides, 1 if unsigned else 2)):
            tensor.set_value(np.array([number], np.float32))
        self.forget()

    def take_over(self, limit: float) -> None:
        """Set the range that another quantizer had, two-sided unless the options say otherwise."""
        self.set_range(limit, unsigned=self._options.unsigned is True)

    def forget(self) -> None:
        """Read again from the state whether the form is one-sided."""
        self._known_sides = None

    def _reach(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """How far the parameter may be from its previous value."""
        return self._previous * (1 - STEP_LIMIT), self._previous * (1 + STEP_LIMIT)

    def _limit_of(self, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        return value

    def _parameter_of(self, limit: float, unsigned: bool) -> float:
        return limit

    def _one_sided(self, seen: Histogram) -> bool:
        wanted = self._options.unsigned
        return wanted is True or (wanted == "auto" and not seen.negative and self.bits < 16)

    def _sides_known(self) -> bool:
        # Reading waits for the device, so training steps that follow each other remember the answer.
        if self._known_sides is None or not self.training:
            self._known_sides = int(self.stored("_sides").item()) or None
        return self._known_sides is not None

    def _calibrate_from_first_batch(self, x: paddle.Tensor) -> None:
        if paddle.distributed.get_world_size() > 1:  # each process has a batch of its own
            raise self._uncalibrated()
        self.calibrate_from(x)

    def calibrate_from(self, x: paddle.Tensor) -> None:
        """Choose the form and the range from one tensor.

        Raises:
            UserError: it is not finite.
        """
        values = x.astype("float32").numpy()
        if not np.isfinite(values).all():
            raise UserError(f"{self.layer_name}: what its range is to be calibrated from is not finite")
        seen = self.observer()
        seen.add(values)
        self.calibrate(seen)


def restrained(parameter: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor) -> paddle.Tensor:
    """The parameter, no further than it may move in one step; the lower bound in place of NaN."""
    return _C_ops.fmin(_C_ops.fmax(parameter, low), high)


class AlphaDecay(paddle.regularizer.WeightDecayRegularizer):
    """Weight decay of alpha for a parameter that holds its logarithm.

    Decay shrinks a plain parameter by the factor 1 - rate * coefficient in a step; on a logarithm that is a constant.
    """

    def __init__(self, coefficient: float) -> None:
        super().__init__()
        self._coefficient = coefficient

    def __call__(self, param: paddle.Tensor, grad: paddle.Tensor, block: object) -> paddle.Tensor:
        """What the optimizer adds to the gradient."""
        return paddle.full_like(param, self._coefficient)

    def __str__(self) -> str:
        return f"AlphaDecay, coefficient={self._coefficient}"


class LearnedAlpha(LearnedRange):
    """PACT on the grid of alpha itself: y = round(clip(x, -alpha, alpha)), alpha trained.

    The parameter is `log_alpha`: alpha is positive by construction, and a step changes it by a factor that does not
    depend on the scale of the input.
    """

    def __init__(self, layer_name: str, options: QuantOptions, bits: int | None = None) -> None:
        super().__init__(layer_name, options, options.activation_bits if bits is None else bits)
        self.log_alpha = self.create_parameter(
            [1],
            paddle.ParamAttr(
                learning_rate=options.alpha_learning_rate, regularizer=AlphaDecay(options.alpha_weight_decay)
            ),
            default_initializer=paddle.nn.initializer.Constant(0.0),
        )

    @property
    def learned(self) -> paddle.Tensor:
        """The logarithm of alpha."""
        return self.log_alpha

    def _apply(self, x: paddle.Tensor, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        alpha = value.exp()
        if fake_quant.needs_gradient(x, self.log_alpha):
            return pact.Pact.apply(x, self.log_alpha, alpha, unsigned, self._quantize)
        return self._quantize(x, alpha, unsigned)[0]

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> Clipped:
        """Clip and round `x`."""
        rounded = fake_quant.round_to_grid(x, alpha, self.bits, unsigned, self.full_range)
        return rounded, rounded, alpha

    def _choose(self, seen: Histogram, unsigned: bool) -> float:
        if self._options.alpha_init == "percentile":
            return seen.percentile(self._options.alpha_percentile)
        return seen.least_squares(fake_quant.levels(self.bits, unsigned))

    def _reach(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        step = math.log1p(STEP_LIMIT)
        return self._previous - step, self._previous + step

    def _limit_of(self, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        return value.exp()

    def _parameter_of(self, limit: float, unsigned: bool) -> float:
        return math.log(limit)


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
        alpha = self.range()
        start_average(self, [min(batch.largest, alpha) for batch in seen.batches])

    def limit(self) -> float:
        """The smaller of alpha and the moving average."""
        return min(self.range(), self._scale.item())

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> Clipped:
        if not self.training or not paddle.in_dynamic_mode():
            return super()._quantize(x, paddle.minimum(alpha, self._scale), unsigned)
        if not self.observing:
            clipped = pact.clip(x, alpha, unsigned)
            return self._on_scale(clipped, unsigned), clipped, alpha
        largest = _C_ops.fmin(fake_quant.largest_magnitude(x, unsigned), alpha)  # alpha in place of NaN
        fake_quant.observe_average(largest, self._scale, self._accum, self._state, rate=self.rate)
        # Rounding keeps the order of values, so to round and then clip to the rounded alpha is the same as to clip
        # first, and needs memory once.
        low = paddle.zeros_like(alpha) if unsigned else self._on_scale(-alpha)
        high = self._on_scale(alpha, unsigned)
        rounded = fake_quant.clip_in_place(self._on_scale(x, unsigned), low, high)
        # Below half a level alpha rounds to 0, and so does everything; the gradient then is 0, until the average has
        # followed alpha.
        return rounded, rounded, high + _TINY

    def _on_scale(self, x: paddle.Tensor, unsigned: bool = False) -> paddle.Tensor:
        return fake_quant.round_to_grid(x, self._scale, self.bits, unsigned, self.full_range)


class ClipByAlpha(LearnedAlpha):
    """y = clip(x, -alpha, alpha), alpha trained, before a quantizer that finds its own range."""

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> Clipped:
        clipped = pact.clip(x, alpha, unsigned)
        return clipped, clipped, alpha

    def _one_sided(self, seen: Histogram) -> bool:
        return False


class ClipWeightByAlpha(ClipByAlpha):
    """The clip before a weight quantizer; it calibrates from the weight itself."""

    counts_whole = True

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip a weight."""
        if paddle.in_dynamic_mode() and not self._sides_known():
            self.calibrate_from(x)  # the same in every process
        return super().forward(x)


class LsqActivation(LearnedRange):
    """LSQ: y = round(clip(x / s, -2^(b-1), 2^(b-1) - 1)) * s, the step size s trained.

    It starts where the squared error is least, see `lsq`.
    """

    full_range = True

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options, options.activation_bits)
        self.s = self.create_parameter(
            [1],
            paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0)),
            default_initializer=paddle.nn.initializer.Constant(0.0),
        )

    @property
    def learned(self) -> paddle.Tensor:
        """The step size."""
        return self.s

    def _apply(self, x: paddle.Tensor, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        if not fake_quant.needs_gradient(x, self.s):
            return lsq.round_activation(x, value, self.bits, unsigned)
        features = math.prod(x.shape[1:])
        return lsq.LsqActivationFunction.apply(x, self.s, value, self.bits, unsigned, features)

    def _limit_of(self, value: paddle.Tensor, unsigned: bool) -> paddle.Tensor:
        return value * fake_quant.levels(self.bits, unsigned)

    def _parameter_of(self, limit: float, unsigned: bool) -> float:
        return limit / fake_quant.levels(self.bits, unsigned)

    def _choose(self, seen: Histogram, unsigned: bool) -> float:
        return seen.least_squares(fake_quant.levels(self.bits, unsigned))


class PaddleSlimPact(CountsClipped, paddle.nn.Layer):
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
        if self.training and paddle.in_dynamic_mode():
            with paddle.no_grad():
                self._count_clipped(x, self.alpha)
        relu = paddle.nn.functional.relu
        return x - relu(x - self.alpha) + relu(-self.alpha - x)

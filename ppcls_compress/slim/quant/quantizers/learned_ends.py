"""Two-ended grids that are trained: PACT with a lower end beside the upper one, and LSQ with an offset (LSQ+)."""

from __future__ import annotations

import math

import numpy as np
import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.base import CountsClipped, HistogramPerBatch
from ppcls_compress.slim.quant.quantizers.histogram import Histogram
from ppcls_compress.slim.quant.quantizers.learned import STEP_LIMIT, restrained
from ppcls_compress.slim.quant.quantizers.two_ended import (
    ASYMMETRIC,
    ONE_SIDED,
    SYMMETRIC,
    Sided,
    TwoEnded,
    fitted_ends,
    grid_of,
    sides_for,
)

_LEAST = 1e-6
"""The least upper end of PACT, in parts of the width that calibration found: a grid without width has no numbers."""


class LearnedEnds(Sided, CountsClipped, TwoEnded):
    """Trained parameters that set both ends; what was not calibrated calibrates from its first training batch.

    A form that calibration chose stays: a lower end of 0, or one that follows the upper end, is not trained.

    A subclass has its parameters side by side in `_values()`, float32 [2], writes them by `_write`, and says with
    `_ends_of(values)` where the ends are, with `_values_of(low, high)` the inverse, with `_reach(previous)` how far
    each may move in a step, with `_choose(histogram)` where to start, and with `_apply(x, ends)` how it rounds.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options = options
        self._register_sides()
        self.register_buffer("_previous", paddle.zeros([2]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip and round `x`, any shape, float32."""
        if not (self.training and paddle.in_dynamic_mode()):
            return self._rounded(x)
        if not self._started():
            self._start_from_first_batch(x)
        with paddle.no_grad():
            values = self._restrained()
            self._write(values)
            _C_ops.assign_out_(values, self._previous)
            low, high = self._ends_of(values)
            self._count_outside(x, low, high)
        return self._apply(x, low, high)

    def range(self) -> float:
        """The upper end."""
        return self.limit()

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Choose the form and the ends."""
        total = Histogram.merged(seen.batches)
        sides = sides_for(total.lowest, total.highest, self._options)
        self.set_ends(*fitted_ends(*self._choose(total), self.bits, sides), sides)

    def set_ends(self, low: float, high: float, sides: int) -> None:
        """Set both ends, and the form."""
        self._prepare(low, high)
        values = np.array(self._values_of(low, high), np.float32)
        self._write(paddle.to_tensor(values))
        self._previous.set_value(values)
        self._sides.set_value(np.array([sides], np.float32))
        self.forget()

    def _prepare(self, low: float, high: float) -> None:
        """Note what the parameters are relative to."""

    def _restrained(self) -> paddle.Tensor:
        reach = self._reach(self._previous)
        return restrained(self._values(), self._previous - reach, self._previous + reach)

    def _ends(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        return self._ends_of(self._restrained())

    def _start_from_first_batch(self, x: paddle.Tensor) -> None:
        if paddle.distributed.get_world_size() > 1:  # each process has a batch of its own
            raise self._uncalibrated()
        values = x.astype("float32").numpy()
        if not np.isfinite(values).all():
            raise UserError(f"{self.layer_name}: what its range is to be calibrated from is not finite")
        seen = self.observer()
        seen.add(values)
        self.calibrate(seen)


class LearnedClip(LearnedEnds):
    """PACT with both ends trained: y = round(clip(x, low, high)), from the gradients of the clip.

    Choi et al. 2018, equation 3, for each end: d y / d high = 1 where x >= high, d y / d low = 1 where x <= low. The
    parameter `ends`, [2], is in parts of the width that calibration found, `_unit`, so that what a step does to it does
    not depend on the scale of the input.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options)
        attributes = paddle.ParamAttr(
            learning_rate=options.alpha_learning_rate,
            regularizer=paddle.regularizer.L2Decay(options.alpha_weight_decay),
        )
        self.ends = self.create_parameter([2], attributes, default_initializer=paddle.nn.initializer.Constant(0.0))
        self.register_buffer("_unit", paddle.zeros([1]))

    def _values(self) -> paddle.Tensor:
        return self.ends

    def _write(self, values: paddle.Tensor) -> None:
        _C_ops.assign_out_(values, self.ends)

    def _prepare(self, low: float, high: float) -> None:
        self._unit.set_value(np.array([high - low], np.float32))

    def _values_of(self, low: float, high: float) -> tuple[float, float]:
        return low / (high - low), high / (high - low)

    def _ends_of(self, values: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return self._form(*(values * self._unit).split(2))

    def _reach(self, previous: paddle.Tensor) -> paddle.Tensor:
        low, high = previous.split(2)
        # A lower end that is none, or follows, says nothing of the width, and must not let the upper one go to 0.
        return STEP_LIMIT * (high - low if self._known_sides == ASYMMETRIC else high)

    def _restrained(self) -> paddle.Tensor:
        # Each end stays on its side of zero, so that a step leaves at least four fifths of the width.
        low, high = super()._restrained().split(2)
        return paddle.concat([paddle.clip(low, max=0.0), paddle.clip(high, min=_LEAST)])

    def _choose(self, seen: Histogram) -> tuple[float, float]:
        if self._options.alpha_init == "percentile":
            limit = seen.percentile(self._options.alpha_percentile)
            return max(seen.lowest, -limit), min(seen.highest, limit)
        return seen.least_squares_ends(2**self.bits - 1)

    def _apply(self, x: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor) -> paddle.Tensor:
        step, zero_point = grid_of(low, high, self.bits)
        if not fake_quant.needs_gradient(x, self.ends):
            return fake_quant.round_between(x, step, zero_point, self.bits)
        low, high = -step * zero_point, step * (2**self.bits - 1 - zero_point)
        return _Clip.apply(x, self.ends, low, high, self._unit, self._known_sides, self._rounding(step, zero_point))

    def _rounding(self, step: paddle.Tensor, zero_point: paddle.Tensor):
        return lambda x: fake_quant.round_between(x, step, zero_point, self.bits)


class _Clip(PyLayer):
    """Clip to two ends and round, with the gradients of the clip; the rounding is straight-through."""

    @staticmethod
    def forward(ctx, x, ends, low, high, unit, sides, rounding):  # noqa: ANN001
        """`rounding(x)`; `low` and `high` are the ends of its grid."""
        rounded = rounding(x)
        ctx.save_for_backward(x, rounded, low, high, unit)
        ctx.sides = sides
        ctx.wanted = (not x.stop_gradient, not ends.stop_gradient)
        return rounded

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001
        """Gradients of `x` and of `ends`; None for one that stops."""
        x, rounded, low, high, unit = ctx.saved_tensor()
        grad_x, grad_low, grad_high = end_gradients(x, rounded, low, high, grad)
        if ctx.sides == SYMMETRIC:  # the lower end follows the upper one
            grad_high = grad_high + grad_low * (low / high)
        if ctx.sides != ASYMMETRIC:
            grad_low = paddle.zeros_like(grad_low)
        grad_ends = paddle.concat([grad_low, grad_high]) * unit
        wants_x, wants_ends = ctx.wanted
        return grad_x if wants_x else None, grad_ends if wants_ends else None, None, None, None


def end_gradients(
    x: paddle.Tensor, clipped: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor, grad: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Gradients of clip(x, low, high) with respect to `x`, `low` and `high`; an end itself counts as clipped.

    Args:
        x: the input.
        clipped: its clip, which may be rounded since between the ends.
        low: below `high`, [1].
        high: [1].
        grad: gradient with respect to the clip's output.
    """
    if fake_quant.reads_scalars_at_once(x):
        grad_x = _C_ops.clip_grad(x, grad, low, high)
        # What the clip stopped, with the other sign, and back, in place, as `pact.clip_gradients` does. The sum of it
        # and the sum of its products with what was read instead, `low` or `high`, are two equations for both parts.
        stopped = _C_ops.subtract_(grad_x, grad).reshape([-1])
        both = -stopped.sum().reshape([1])
        weighted = -_C_ops.matmul(stopped, clipped.reshape([-1]), False, False).reshape([1])
        above = (weighted - low * both) / (high - low)
        return _C_ops.add_(grad_x, grad), both - above, above
    below, above = x <= low, x >= high
    nothing = paddle.zeros_like(grad)
    grad_x = paddle.where(paddle.logical_or(below, above), nothing, grad)
    grad_low, grad_high = (paddle.where(part, grad, nothing).sum().reshape([1]) for part in (below, above))
    return grad_x, grad_low, grad_high


class LsqEnds(LearnedEnds):
    """LSQ+: a trained step size `s` and offset `offset`: y = round(clip((x - offset) / s, 0, 2^b - 1)) * s + offset.

    Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and better initialization", CVPR
    Workshops 2020, equations 5 to 7. The offset that is computed with is the nearest multiple of the step, so that 0 is
    on the grid.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options)
        for name in ("s", "offset"):
            attributes = paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0))
            parameter = self.create_parameter([1], attributes, default_initializer=paddle.nn.initializer.Constant(0.0))
            self.add_parameter(name, parameter)

    def _values(self) -> paddle.Tensor:
        return paddle.concat([self.s, self.offset])

    def _write(self, values: paddle.Tensor) -> None:
        for value, parameter in zip(values.split(2), (self.s, self.offset), strict=True):
            _C_ops.assign_out_(value, parameter)

    def _values_of(self, low: float, high: float) -> tuple[float, float]:
        return (high - low) / (2**self.bits - 1), low

    def _ends_of(self, values: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        step, low = values.split(2)
        top, middle = 2**self.bits - 1, 2 ** (self.bits - 1)
        if self._known_sides != ASYMMETRIC:
            low = -step * (middle if self._known_sides == SYMMETRIC else 0)
        low = paddle.clip(low, max=0.0)
        return low, low + step * top

    def _reach(self, previous: paddle.Tensor) -> paddle.Tensor:
        step, _ = previous.split(2)
        return paddle.concat([STEP_LIMIT * step, STEP_LIMIT * step * (2**self.bits - 1)])

    def _choose(self, seen: Histogram) -> tuple[float, float]:
        return seen.least_squares_ends(2**self.bits - 1)

    def _apply(self, x: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor) -> paddle.Tensor:
        step, zero_point = grid_of(low, high, self.bits)
        if not fake_quant.needs_gradient(x, self.s, self.offset):
            return fake_quant.round_between(x, step, zero_point, self.bits)
        features = math.prod(x.shape[1:])
        return _Lsq.apply(x, self.s, self.offset, step, zero_point, self.bits, self._known_sides, features)


class _Lsq(PyLayer):
    """Rounding with a step size and an offset."""

    @staticmethod
    def forward(ctx, x, s, offset, step, zero_point, bits, sides, features):  # noqa: ANN001
        """`step` and `zero_point` are what the parameters `s` and `offset` say."""
        rounded = fake_quant.round_between(x, step, zero_point, bits)
        ctx.save_for_backward(x, rounded, step, zero_point)
        ctx.settings = (bits, sides, features)
        ctx.wanted = (not x.stop_gradient, not s.stop_gradient, not offset.stop_gradient)
        return rounded

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001
        """Gradients of `x`, `s` and `offset`; None for one that stops."""
        x, rounded, step, zero_point = ctx.saved_tensor()
        bits, sides, features = ctx.settings
        top = 2**bits - 1
        ends = (-step * zero_point, step * (top - zero_point))
        grad_x, grad_low, grad_high = end_gradients(x, rounded, *ends, grad)
        # Inside round(v) - v with v = (x - offset) / s; at the lower end 0, at the upper one 2^b - 1.
        grad_s = (grad_x * (rounded - x)).sum().reshape([1]) / step + grad_high * top
        grad_offset = grad_low + grad_high
        if sides == SYMMETRIC:  # the offset follows the step
            grad_s = grad_s - grad_offset * 2 ** (bits - 1)
        if sides in (SYMMETRIC, ONE_SIDED):
            grad_offset = paddle.zeros_like(grad_offset)
        scaling = 1 / math.sqrt(features * top)
        gradients = (grad_x, grad_s * scaling, grad_offset * scaling)
        found = tuple(value if wanted else None for value, wanted in zip(gradients, ctx.wanted, strict=True))
        return *found, None, None

"""Quantizers of activations: layers that clip and round what a convolution or linear layer reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import _C_ops

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import fake_quant, pact
from ppcls_compress.slim.quant.histogram import Histogram

# The most that alpha may change from one training step to the next. A single large gradient can then neither turn alpha
# negative nor throw it so far above the data that no gradient ever reaches it again, whatever the scale of the input.
STEP_LIMIT = 0.1
# What Paddle's quantizers start from; a state of exactly 1 means that nothing was observed.
_START_SCALE, _START_STATE, _START_ACCUM = 0.001, 1.0, 1.0


class ActivationQuantizer(paddle.nn.Layer):
    """Rounds activations to a grid of `bits` bits.

    Attributes:
        layer_name: structured name of the layer whose input this is, for messages.
        bits: 2 to 16.
    """

    def __init__(self, layer_name: str, bits: int) -> None:
        super().__init__()
        self.layer_name = layer_name
        self.bits = bits

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return False

    @property
    def learned(self) -> paddle.Tensor | None:
        """The range that gradient descent trains, if there is one."""
        return None

    def limit(self) -> float | None:
        """The largest value of the grid, or None when it is found anew for each batch.

        Raises:
            UserError: no data was seen.
        """
        raise UserError(f"{self.layer_name}: {type(self).__name__} does not say what its range is")

    def calibrate(self, seen: Sequence[Histogram]) -> None:
        """Set the range from what the layer's input was, one histogram per batch."""

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"bits={self.bits}"

    def _uncalibrated(self) -> UserError:
        return UserError(
            f"{self.layer_name}: its activation range is not calibrated; call slim.quant.calibrate(model, batches), "
            "or load a state that was saved after calibration"
        )


class MovingAverage(ActivationQuantizer):
    """Range: the moving average of each batch's largest magnitude, frozen in evaluation.

    scale = accum / state with accum <- rate * accum + max|x| and state <- rate * state + 1.
    """

    def __init__(self, layer_name: str, bits: int, rate: float) -> None:
        super().__init__(layer_name, bits)
        self.rate = rate
        self.observing = True
        for key, start in (("_scale", _START_SCALE), ("_state", _START_STATE), ("_accum", _START_ACCUM)):
            self.register_buffer(key, paddle.full([1], start))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; in training, update the range first."""
        quantize = self._observe if self.training and self.observing else self._frozen
        return fake_quant.straight_through(x, quantize)

    def limit(self) -> float:
        """The moving average."""
        if self._state.item() == _START_STATE and self._scale.item() == np.float32(_START_SCALE):
            raise self._uncalibrated()
        return self._scale.item()

    def calibrate(self, seen: Sequence[Histogram]) -> None:
        """Start the average from the batches alone."""
        accum = state = 0.0
        for batch in seen:
            accum, state = self.rate * accum + batch.largest, self.rate * state + 1
        for buffer, value in ((self._accum, accum), (self._state, state), (self._scale, accum / state)):
            buffer.set_value(paddle.full([1], value))

    def _observe(self, x: paddle.Tensor) -> paddle.Tensor:
        return fake_quant.round_by_moving_average(
            x, self._scale, self._accum, self._state, bits=self.bits, rate=self.rate
        )

    def _frozen(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training and paddle.in_dynamic_mode():
            self.limit()
        return fake_quant.round_to_grid(x, self._scale, self.bits)


class AbsMax(ActivationQuantizer):
    """Range: the largest magnitude of the batch itself, in training and evaluation alike."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape."""
        return fake_quant.straight_through(x, lambda x: fake_quant.round_by_abs_max(x, self.bits)[0])

    def limit(self) -> None:
        """None: there is no fixed range."""
        return


class LearnedAlpha(ActivationQuantizer):
    """PACT on the grid of alpha itself: y = round(clip(x, -alpha, alpha)), alpha trained.

    The one-sided form, clip(x, 0, alpha) on an unsigned grid, is chosen at calibration for inputs that were never
    negative. In training alpha moves by at most a tenth per step, so that it stays positive.

    State: `alpha`; `_sides`: 0 not calibrated, 1 one-sided, 2 two-sided; `_previous`: alpha of the last training step.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options = options
        self.alpha = self.create_parameter(
            [1],
            attr=paddle.ParamAttr(
                learning_rate=options.alpha_learning_rate,
                regularizer=paddle.regularizer.L2Decay(options.alpha_weight_decay),
            ),
            default_initializer=paddle.nn.initializer.Constant(0.0),
        )
        self.register_buffer("_previous", paddle.zeros([1]))
        self.register_buffer("_sides", paddle.zeros([1]))
        self._known_sides: int | None = None
        self._clipped: paddle.Tensor | None = None
        self._counted = 0

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Clip and round `x`, any shape, float32."""
        unsigned = self._read_sides() == 1
        alpha = self._restrained() if self.training and paddle.in_dynamic_mode() else self.alpha
        if self.training and paddle.in_dynamic_mode():
            self._count_clipped(x, alpha, unsigned)
        if fake_quant.needs_gradient(x, self.alpha):
            return pact.Pact.apply(x, self.alpha, alpha.detach(), unsigned, self._quantize)
        return self._quantize(x, alpha, unsigned)[0]

    @property
    def unsigned(self) -> bool:
        """Whether the one-sided form is in use."""
        return self._read_sides() == 1

    @property
    def learned(self) -> paddle.Tensor:
        """Alpha."""
        return self.alpha

    def limit(self) -> float:
        """Alpha."""
        self._read_sides()
        return self.alpha.item()

    def calibrate(self, seen: Sequence[Histogram]) -> None:
        """Choose alpha and the form."""
        total = Histogram.merged(seen)
        wanted = self._options.unsigned
        one_sided = wanted is True or (wanted == "auto" and not total.negative and self.bits < 16)
        if self._options.alpha_init == "percentile":
            alpha = total.percentile(self._options.alpha_percentile)
        else:
            alpha = total.least_squares(fake_quant.levels(self.bits, one_sided))
        # An input that was zero throughout says nothing of its range; any positive one is exact for it.
        self._set(alpha if alpha > 0 else 1.0, sides=1 if one_sided else 2)

    def clip_rate(self, reset: bool = True) -> float | None:
        """Fraction of the inputs clipped since the last reset, over the first sample of each training batch."""
        rate = self._clipped.item() / self._counted if self._counted else None
        if reset:
            self._clipped, self._counted = None, 0
        return rate

    def _set(self, alpha: float, sides: int) -> None:
        for tensor, value in ((self.alpha, alpha), (self._previous, alpha), (self._sides, sides)):
            tensor.set_value(paddle.full([1], value))
        self._known_sides = None

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> tuple[paddle.Tensor, paddle.Tensor]:
        rounded = fake_quant.round_to_grid(x, alpha, self.bits, unsigned)
        return rounded, rounded

    def _read_sides(self) -> int:
        # Reading waits for the device, so training steps that follow each other remember the answer.
        if paddle.in_dynamic_mode() and (self._known_sides is None or not self.training):
            self._known_sides = int(self._sides.item())
        if not self._known_sides:
            self._known_sides = None
            raise self._uncalibrated()
        return self._known_sides

    def _restrained(self) -> paddle.Tensor:
        with paddle.no_grad():
            nearest = paddle.maximum(self.alpha, self._previous * (1 - STEP_LIMIT))
            nearest = paddle.minimum(nearest, self._previous * (1 + STEP_LIMIT))
            _C_ops.assign_out_(nearest, self.alpha)
            _C_ops.assign_out_(nearest, self._previous)
        return nearest

    def _count_clipped(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> None:
        with paddle.no_grad():
            sample = x[:1] if unsigned else x[:1].abs()
            rate = (sample >= alpha).astype("float32").mean()
        self._clipped = rate if self._clipped is None else self._clipped + rate
        self._counted += 1


class LearnedAlphaMovingAverage(LearnedAlpha):
    """PACT on PaddleSlim's grid: clip by alpha, then round on the moving average of the largest magnitude.

    In evaluation the range is the smaller of alpha and the moving average: one range, as an exported graph can hold.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options)
        self.observing = True
        for key, start in (("_scale", _START_SCALE), ("_state", _START_STATE), ("_accum", _START_ACCUM)):
            self.register_buffer(key, paddle.full([1], start))

    def limit(self) -> float:
        """The smaller of alpha and the moving average."""
        return min(super().limit(), self._scale.item())

    def calibrate(self, seen: Sequence[Histogram]) -> None:
        """Choose alpha and the form, and start the average from the batches."""
        super().calibrate(seen)
        alpha, rate = self.alpha.item(), self._options.moving_rate
        accum = state = 0.0
        for batch in seen:
            accum, state = rate * accum + min(batch.largest, alpha), rate * state + 1
        for buffer, value in ((self._accum, accum), (self._state, state), (self._scale, accum / state)):
            buffer.set_value(paddle.full([1], value))

    def _quantize(self, x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool) -> tuple[paddle.Tensor, paddle.Tensor]:
        if not self.training:
            limit = paddle.minimum(alpha, self._scale)
            return (fake_quant.round_to_grid(x, limit, self.bits, unsigned),) * 2
        clipped = pact.clip(x, alpha, unsigned)
        if not self.observing:
            return fake_quant.round_to_grid(clipped, self._scale, self.bits, unsigned), clipped
        rounded = fake_quant.round_by_moving_average(
            clipped,
            self._scale,
            self._accum,
            self._state,
            bits=self.bits,
            rate=self._options.moving_rate,
            unsigned=unsigned,
        )
        return rounded, clipped


def build(layer_name: str, options: QuantOptions) -> ActivationQuantizer:
    """The activation quantizer that the options ask for."""
    if options.name == "pact":
        kind = LearnedAlpha if options.grid == "alpha" else LearnedAlphaMovingAverage
        return kind(layer_name, options)
    if options.activation_quantize_type == "abs_max":
        return AbsMax(layer_name, options.activation_bits)
    return MovingAverage(layer_name, options.activation_bits, options.moving_rate)

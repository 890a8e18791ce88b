"""Grids with a lower and an upper end, whose zero point is any of their integers.

A range low .. high that holds 0 has 2^b integers: step = (high - low) / (2^b - 1), and the integer of 0 is
round(-low / step), so that 0 is exact. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import paddle
from paddle import _C_ops

from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers import fake_quant, ranges
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer, HistogramPerBatch
from ppcls_compress.slim.quant.quantizers.histogram import Histogram

ONE_SIDED, SYMMETRIC, ASYMMETRIC = 1, 2, 3
# `auto` keeps a zero point in the middle, which every runtime has a kernel for, where it costs no more than this.
_WORTH = 1.1
# A range from -1 to 2 is as wide as this; one that is told of is wider on one side, as what a hard-swish gives.
_LOPSIDED = 4 / 3
_TINY = 1e-12


def sides_for(low: float, high: float, options: QuantOptions) -> int:
    """Which form of a grid `unsigned` and `asymmetric` give to values from `low` to `high`."""
    bits, asymmetric = options.activation_bits, options.asymmetric
    if options.unsigned is True or (low >= 0 and options.unsigned is not False):
        return ONE_SIDED
    if not asymmetric or options.unsigned is False:
        return SYMMETRIC
    return SYMMETRIC if asymmetric == "auto" and _coarser(low, high, bits) <= _WORTH else ASYMMETRIC


def is_lopsided(batches: Sequence[Histogram], bits: int) -> bool:
    """Whether values below zero and above it lie so unevenly that a zero point in the middle wastes much of a grid."""
    low, high = min(batch.lowest for batch in batches), max(batch.highest for batch in batches)
    return low < 0 and _coarser(low, high, bits) > _LOPSIDED


def _coarser(low: float, high: float, bits: int) -> float:
    """By how much the step of a grid grows, if its zero point is to lie in the middle."""
    ends = symmetric_ends(low, high, bits)
    return (ends[1] - ends[0]) / (max(high, 0.0) - low)


def symmetric_ends(low: float, high: float, bits: int) -> tuple[float, float]:
    """The ends of the grid with its zero point in the middle, at 2^(b-1), that holds `low` .. `high`."""
    middle = 2 ** (bits - 1)
    step = max(high / (middle - 1), -low / middle)
    return -step * middle, step * (middle - 1)


def fitted_ends(low: float, high: float, bits: int, sides: int) -> tuple[float, float]:
    """The ends of a form of grid that holds `low` .. `high`; 0 .. 1 where every value was 0, for which any is exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return (0.0, 1.0) if sides != SYMMETRIC else symmetric_ends(-1.0, 1.0, bits)
    if sides == SYMMETRIC:
        return symmetric_ends(low, high, bits)
    return (0.0 if sides == ONE_SIDED else low), max(high, _TINY)


class TwoEnded(ActivationQuantizer):
    """Rounds to the grid between two ends.

    A subclass says with `_ends()` where they are, float32 [1] each, and with `_started()` whether that is known.
    """

    full_range = True

    @property
    def unsigned(self) -> bool:
        """Whether the zero point is the lowest integer."""
        return self.zero_point == 0

    @property
    def zero_point(self) -> int:
        """The integer of 0, from 0 on."""
        return int(self._grid_numbers()[1])

    def limit(self) -> float:
        """The largest value of the grid."""
        step, zero_point = self._grid_numbers()
        return float(step * (2**self.bits - 1 - zero_point))

    def current_limit(self) -> paddle.Tensor:
        """The largest value of the grid, [1], without a look at the number."""
        step, zero_point = self._current_grid()
        return step * (2**self.bits - 1 - zero_point)

    def current_step(self) -> paddle.Tensor:
        """What one integer stands for, [1]."""
        return self._current_grid()[0]

    def take_over(self, limit: float) -> None:
        """Set the range that another quantizer had, -limit .. limit."""
        self.set_ends(*symmetric_ends(-limit, limit, self.bits), SYMMETRIC)

    def set_ends(self, low: float, high: float, sides: int) -> None:
        """Set the range.

        Args:
            low: at most 0.
            high: above 0.
            sides: ONE_SIDED, SYMMETRIC or ASYMMETRIC.
        """
        raise NotImplementedError

    def _started(self) -> bool:
        raise NotImplementedError

    def _ends(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        raise NotImplementedError

    def _current_grid(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Step and zero point, [1] each."""
        if not self._started():
            raise self._uncalibrated()
        return grid_of(*self._ends(), self.bits)

    def _grid_numbers(self) -> tuple[float, float]:
        with paddle.no_grad():
            step, zero_point = self._current_grid()
            return step.item(), zero_point.item()

    def _rounded(self, x: paddle.Tensor) -> paddle.Tensor:
        return fake_quant.round_between(x, *self._current_grid(), self.bits)


def grid_of(low: paddle.Tensor, high: paddle.Tensor, bits: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Step and zero point of the grid between two ends, float32 [1] each."""
    top = 2**bits - 1
    # By a tensor: a program that is traced divides by a number by multiplying with its rounded inverse.
    step = (high - low) / paddle.full([1], float(top))
    return step, paddle.clip(paddle.round(-low / step), 0, top - 1)


class FixedEnds(TwoEnded):
    """Ends: set once by calibration, as after-training quantization does."""

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options = options
        self._checked = False
        self.register_buffer("_low", paddle.zeros([1]))
        self.register_buffer("_high", paddle.zeros([1]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; the gradient passes straight through."""
        return fake_quant.straight_through(x, self._rounded)

    def forget(self) -> None:
        """Look again whether the range has a value."""
        self._checked = False

    @property
    def corrects_bias(self) -> bool:
        """Whether calibration shifts the layer's bias too."""
        return self._options.bias_correction

    def observer(self) -> ranges.EndsObserver:
        """The method that the options name."""
        return ranges.build_ends(self._options)

    def calibrate(self, seen: ranges.EndsObserver) -> None:
        """Take the observer's ends, and the form that fits."""
        low, high = seen.ends()
        sides = sides_for(low, high, self._options)
        self.set_ends(*fitted_ends(low, high, self.bits, sides), sides)

    def set_ends(self, low: float, high: float, sides: int) -> None:
        """Set the range."""
        self._low.set_value(np.array([low], np.float32))
        self._high.set_value(np.array([high], np.float32))
        self.forget()

    def _started(self) -> bool:
        # Reading waits for the device, which a training step must not do.
        if not (self.training and self._checked):
            self._checked = bool(self.stored("_high").item() > self.stored("_low").item())
        return self._checked

    def _ends(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        return self._low, self._high


class Sided:
    """Remembers which form calibration chose.

    State: `_sides`, 0 for what is not calibrated, else ONE_SIDED, SYMMETRIC or ASYMMETRIC.
    """

    def _register_sides(self) -> None:
        self.register_buffer("_sides", paddle.zeros([1]))
        self._known_sides: int | None = None

    def forget(self) -> None:
        """Read the form again from the state."""
        self._known_sides = None

    def _started(self) -> bool:
        # Reading waits for the device, so training steps that follow each other remember the answer.
        if self._known_sides is None or not self.training:
            self._known_sides = int(self.stored("_sides").item()) or None
        return self._known_sides is not None

    def _form(self, low: paddle.Tensor, high: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Two ends as the form wants them."""
        middle = 2 ** (self.bits - 1)
        if self._known_sides == ONE_SIDED:
            return paddle.zeros_like(low), high
        return (-high * (middle / (middle - 1)) if self._known_sides == SYMMETRIC else low), high


class AverageEnds(Sided, TwoEnded):
    """Ends: the moving averages of each batch's smallest and largest value.

    ends = accum / state with accum <- rate * accum + (min x, max x) and state <- rate * state + 1, from 0 and 0.

    Attributes:
        observing: whether training updates the range.
    """

    observes: ClassVar[str] = "averages"

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options.activation_bits)
        self._options, self.rate = options, options.moving_rate
        self.observing = True
        self._register_sides()
        self.register_buffer("_accum", paddle.zeros([2]))
        self.register_buffer("_state", paddle.zeros([1]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; in training, update the range first. The gradient passes straight through."""
        training = self.training and paddle.in_dynamic_mode()
        if training and not self._started():
            self._start_from_first_batch(x)
        if training and self.observing:
            with paddle.no_grad():
                flat = x.reshape([-1])
                ends = paddle.concat([_C_ops.min(flat, [0], True), _C_ops.max(flat, [0], True)])
                # What is no number stays in the tensor, where the loss shows it, and out of the range.
                self._add(paddle.where(paddle.isfinite(ends), ends, self._accum / self._state))
        return fake_quant.straight_through(x, self._rounded)

    def calibrate(self, seen: object) -> None:
        """Start from the batches alone."""
        low = min(batch.lowest for batch in seen.batches)
        high = max(batch.highest for batch in seen.batches)
        self.set_ends(low, high, sides_for(low, high, self._options))
        self._accum.set_value(np.zeros(2, np.float32))
        self._state.set_value(np.zeros(1, np.float32))
        for batch in seen.batches:
            self._add(paddle.to_tensor([batch.lowest, batch.highest], "float32"))

    def set_ends(self, low: float, high: float, sides: int) -> None:
        """Start the averages from one batch of these ends."""
        for tensor, numbers in ((self._accum, [low, high]), (self._state, [1]), (self._sides, [sides])):
            tensor.set_value(np.array(numbers, np.float32))
        self.forget()

    def _start_from_first_batch(self, x: paddle.Tensor) -> None:
        if paddle.distributed.get_world_size() > 1:  # each process has a batch of its own
            raise self._uncalibrated()
        seen = self.observer()
        seen.add(x.numpy())
        self.calibrate(seen)

    def _add(self, ends: paddle.Tensor) -> None:
        _C_ops.assign_out_(self._accum * self.rate + ends, self._accum)
        _C_ops.assign_out_(self._state * self.rate + 1, self._state)

    def _observed(self) -> paddle.Tensor:
        """What the grid is to hold, [2]."""
        return self._accum / self._state

    def _ends(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        low, high = self._observed().split(2)
        low, high = paddle.clip(low, max=0.0), paddle.clip(high, min=0.0)
        if self._known_sides == SYMMETRIC:
            middle = 2 ** (self.bits - 1)
            high = paddle.maximum(high, -low * ((middle - 1) / middle))
        low, high = self._form(low, high)
        return low, paddle.maximum(high, low + _TINY)


class ShareOfAverageEnds(AverageEnds):
    """Ends: shares of the moving averages, those with the least squared error when calibration looked.

    On few bits the largest of a batch leaves nothing to the rest: of a million values after a ReLU it is at some five
    deviations, so that on 2 bits all but one in a hundred round to zero, and the network learns nothing. A share of it
    follows the input as it grows or shrinks in training, and costs no search there.
    """

    def __init__(self, layer_name: str, options: QuantOptions) -> None:
        super().__init__(layer_name, options)
        self.register_buffer("_shares", paddle.ones([2]))

    def calibrate(self, seen: HistogramPerBatch) -> None:
        """Start from the batches alone, and find the shares."""
        super().calibrate(seen)
        self._started()  # reads the form
        with paddle.no_grad():
            ends = [end.item() for end in self._ends()]
        best = _least_squares(Histogram.merged(seen.batches), self.bits, self._known_sides)
        shares = [wanted / end if wanted * end > 0 else 1.0 for wanted, end in zip(best, ends, strict=True)]
        self._shares.set_value(np.array(shares, np.float32))

    def set_ends(self, low: float, high: float, sides: int) -> None:
        """Start the averages from one batch of these ends, all of which the grid holds."""
        super().set_ends(low, high, sides)
        self._shares.set_value(np.ones(2, np.float32))

    def _observed(self) -> paddle.Tensor:
        return super()._observed() * self._shares


def _least_squares(seen: Histogram, bits: int, sides: int) -> tuple[float, float]:
    """The ends of a form of grid with the least squared error over what was seen."""
    if sides == ASYMMETRIC:
        return seen.least_squares_ends(2**bits - 1)
    limit = seen.least_squares(fake_quant.levels(bits, unsigned=sides == ONE_SIDED))
    return (0.0 if sides == ONE_SIDED else -limit * 2 ** (bits - 1) / fake_quant.levels(bits)), limit

"""One grid for a whole tensor whose channels each have a factor of their own: a range per channel, one zero point.

What a depthwise convolution gives for a channel comes from that channel alone, so that a kernel for one grid serves:
the factor goes into the scale of the channel's weights. One zero point for all channels keeps padding one integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer
from ppcls_compress.slim.quant.quantizers.two_ended import ONE_SIDED, SYMMETRIC, TwoEnded, fitted_ends, sides_for


class ChannelEnds:
    """Collects the smallest and the largest value of each channel, which lie along axis 1."""

    def __init__(self) -> None:
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        rows = values.reshape(*values.shape[:2], -1)  # along the last axis NumPy is several times as fast
        low, high = rows.min(axis=2).min(axis=0), rows.max(axis=2).max(axis=0)
        self.low = np.minimum(low, 0) if self.low is None else np.minimum(low, self.low)
        self.high = np.maximum(high, 0) if self.high is None else np.maximum(high, self.high)


class Channelwise(ActivationQuantizer):
    """Rounds each channel divided by its factor, on one grid, and multiplies by the factor again.

    State: `_factors`, float32 [channels], the largest of them 1; 0 throughout before calibration.

    Args:
        whole: rounds the divided tensor.
        channels: how many there are.
        options: of the layer.
    """

    full_range = True

    def __init__(self, whole: TwoEnded, channels: int, options: QuantOptions) -> None:
        super().__init__(whole.layer_name, whole.bits)
        self.whole = whole
        self._options = options
        self._known = False
        self.register_buffer("_factors", paddle.zeros([channels]))

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return self.whole.unsigned

    @property
    def zero_point(self) -> int:
        """The integer of 0."""
        return self.whole.zero_point

    @property
    def corrects_bias(self) -> bool:
        """Whether calibration shifts the layer's bias too."""
        return self.whole.corrects_bias

    def factors(self) -> np.ndarray:
        """What the grid is multiplied by for each channel, float32 [channels]."""
        if not self._started():
            raise self._uncalibrated()
        return self.stored("_factors")

    def limit(self) -> float:
        """The largest value of the widest channel's grid."""
        return self.whole.limit()

    def current_limit(self) -> paddle.Tensor:
        """The largest value of each channel's grid, [channels]."""
        return self.whole.current_limit() * self._factors

    def current_step(self) -> paddle.Tensor:
        """What one integer stands for in each channel, [channels]."""
        return self.whole.current_step() * self._factors

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, [N, channels, H, W]."""
        if not self._started():
            if not (self.training and paddle.in_dynamic_mode()) or paddle.distributed.get_world_size() > 1:
                raise self._uncalibrated()
            self._start_from(x)
        factors = self._factors.reshape([-1, 1, 1])
        return self.whole(x / factors) * factors

    def observer(self) -> ChannelEnds:
        """Collects the ends of each channel."""
        return ChannelEnds()

    def calibrate(self, seen: ChannelEnds) -> None:
        """Set the factors so that every channel's values fit the grid and the steps are small."""
        low, high = seen.low.astype(np.float64), seen.high.astype(np.float64)
        sides = sides_for(low.min(), high.max(), self._options)
        zero_point, steps = shared_grid(low, high, self.bits, sides)
        largest = steps.max()
        self._factors.set_value((steps / largest).astype(np.float32))
        ends = (-zero_point * largest, (2**self.bits - 1 - zero_point) * largest)
        self.whole.set_ends(*fitted_ends(*ends, self.bits, sides), sides)
        self.forget()

    def take_over(self, limit: float) -> None:
        """Set the range that another quantizer had for all channels, -limit .. limit."""
        self._factors.set_value(np.ones(self._factors.shape, np.float32))
        self.whole.take_over(limit)
        self.forget()

    def forget(self) -> None:
        """Look again whether the factors have values."""
        self._known = False

    def _started(self) -> bool:
        # Reading waits for the device, which a training step must not do.
        if not (self.training and self._known):
            self._known = bool(self.stored("_factors").any())
        return self._known

    def _start_from(self, x: paddle.Tensor) -> None:
        values = x.numpy()
        if not np.isfinite(values).all():
            raise UserError(f"{self.layer_name}: what its range is to be calibrated from is not finite")
        seen: Any = self.observer()
        seen.add(values)
        self.calibrate(seen)


def shared_grid(low: np.ndarray, high: np.ndarray, bits: int, sides: int) -> tuple[int, np.ndarray]:
    """One zero point for all channels, and a step for each, so that each channel's range fits.

    The zero point is the one with the least sum of squared steps, each in parts of what the channel would have alone.

    Args:
        low: float64 [channels], at most 0.
        high: float64 [channels], at least 0.
        bits: of the grid.
        sides: the form; only an asymmetric one leaves the zero point free.
    """
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    # A channel of zeros says nothing of its range; any is exact for it.
    empty = high - low <= 0
    low, high = np.where(empty, 0.0, low), np.where(empty, (high - low).max() or 1.0, high)
    zero_points = np.arange(top) if sides not in (ONE_SIDED, SYMMETRIC) else [0 if sides == ONE_SIDED else middle]

    def steps(zero_point: int) -> np.ndarray:
        below = -low / zero_point if zero_point else np.where(low < 0, np.inf, 0.0)
        return np.maximum(high / (top - zero_point), below)

    best = min(zero_points, key=lambda zero_point: float(np.square(steps(zero_point) / (high - low)).sum()))
    return int(best), steps(int(best))

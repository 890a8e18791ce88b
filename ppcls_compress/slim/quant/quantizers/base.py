"""What all quantizers have in common, and the two ways to observe a range while training."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import _C_ops

from ppcls_compress.errors import UserError
from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.histogram import Histogram

# What Paddle's moving average starts from; a state of exactly 1 means that nothing was observed.
_START_SCALE, _START_STATE, _START_ACCUM = 0.001, 1.0, 1.0


class Quantizer(paddle.nn.Layer):
    """Rounds a tensor to a grid of `bits` bits.

    Attributes:
        layer_name: structured name of the layer that reads the result, for messages.
        bits: 2 to 16.
        full_range: whether the grid uses the lowest integer, -128 of 8 bits, as integer kernels do.
    """

    full_range: bool = False

    def __init__(self, layer_name: str, bits: int) -> None:
        super().__init__()
        self.layer_name = layer_name
        self.bits = bits

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return False

    def current_limit(self) -> paddle.Tensor:
        """The largest value of the grid, [1], without a look at the number."""
        return self._scale

    def _rounded(self, x: paddle.Tensor) -> paddle.Tensor:
        return fake_quant.round_to_grid(x, self.current_limit(), self.bits, self.unsigned, self.full_range)

    @paddle.jit.not_to_static
    def stored(self, name: str) -> np.ndarray:
        """The values of a parameter or buffer; while a program is traced, the attribute itself is a symbol."""
        holder = self._parameters if name in self._parameters else self._buffers
        return holder[name].numpy()

    def forget(self) -> None:
        """Drop what is remembered of the state from one training step to the next."""

    def _state_dict_impl(self, *args: Any, **kwargs: Any) -> Any:
        # Paddle asks each layer for its tensors before it writes a loaded state into them, and tells no layer of that.
        self.forget()
        return super()._state_dict_impl(*args, **kwargs)

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"bits={self.bits}"


class ActivationQuantizer(Quantizer):
    """Rounds what a layer reads, or what it gives.

    Attributes:
        quantizing: False lets a layer's output pass as it is, as calibration needs; for what a layer reads, the layer's
            own flag says so.
        placed: whether it belongs to `placement: deploy`.
        lopsided: whether calibration found a grid with its zero point in the middle, and values far more on one side.
    """

    quantizing: bool = True
    placed: bool = False
    lopsided: bool = False

    @property
    def corrects_bias(self) -> bool:
        """Whether calibration shifts the layer's bias too."""
        return False

    @property
    def zero_point(self) -> int | None:
        """The integer of 0 on a grid of non-negative integers; None where `unsigned` says it all.

        Raises:
            UserError: no data was seen.
        """
        return None

    def factors(self) -> np.ndarray | None:
        """What the grid is multiplied by for each channel, float32 [channels], the largest 1; None for one grid."""
        return None

    def current_step(self) -> paddle.Tensor:
        """What one integer stands for, [1] or [channels], without a look at the number."""
        return self.current_limit() / fake_quant.levels(self.bits, self.unsigned)

    def limit(self) -> float | None:
        """The largest value of the grid, or None when it is found anew for each batch.

        Raises:
            UserError: no data was seen.
        """
        return None

    def active(self) -> ActivationQuantizer | None:
        """What rounds now; None where the tensor passes as it is."""
        return self

    def observer(self) -> Any:
        """Something that collects a layer's inputs by `add(array)`, for `calibrate`."""
        return HistogramPerBatch()

    def calibrate(self, seen: Any) -> None:
        """Set the range from what an observer collected."""

    def _uncalibrated(self) -> UserError:
        return UserError(
            f"{self.layer_name}: its activation range is not calibrated; call slim.quant.calibrate(model, batches), "
            "or load a state that was saved after calibration; leave it out by skip if no forward pass reaches it"
        )


class CountsClipped:
    """A layer that clips, and tells how much of its input it clipped in training.

    Attributes:
        counts_whole: count over the whole tensor, as a weight needs, and not over its first sample.
    """

    counts_whole: bool = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clipped: paddle.Tensor | None = None
        self._counted = 0

    def clip_rate(self, reset: bool = True) -> float | None:
        """Fraction of the input clipped since the last reset, over the first sample of each training batch."""
        rate = self._clipped.item() / self._counted if self._counted else None
        if reset:
            self._clipped, self._counted = None, 0
        return rate

    def _count_clipped(self, x: paddle.Tensor, limit: paddle.Tensor, unsigned: bool = False) -> None:
        sample = x if self.counts_whole else x[:1]
        # A value at the limit has the gradient of a clipped one, and is none: where calibration takes the largest
        # magnitude for the limit, nothing is clipped.
        self._count((sample if unsigned else sample.abs()) > limit)

    def _count_outside(self, x: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor) -> None:
        sample = x if self.counts_whole else x[:1]
        self._count(paddle.logical_or(sample < low, sample > high))

    def _count(self, clipped: paddle.Tensor) -> None:
        rate = clipped.astype("float32").mean()
        self._clipped = rate if self._clipped is None else self._clipped + rate
        self._counted += 1


class HistogramPerBatch:
    """Collects one histogram of magnitudes per batch."""

    def __init__(self) -> None:
        self.batches: list[Histogram] = []

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        self.batches.append(Histogram.of(values))


class Observed(Quantizer):
    """A range that follows the data while training and stays in evaluation.

    A subclass says with `_observe(x)` how it updates the range and rounds, and with `_start(x)` what to do in
    evaluation when nothing was observed.

    Attributes:
        observing: whether training updates the range.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape; in training, update the range first. The gradient passes straight through."""
        observes = self.training and self.observing and paddle.in_dynamic_mode()
        return fake_quant.straight_through(x, self._observe if observes else self._frozen)

    def _started(self) -> bool:
        return self.stored("_scale").item() > 0

    def _frozen(self, x: paddle.Tensor) -> paddle.Tensor:
        # Reading waits for the device, which a training step must not do.
        if not (self.training and paddle.in_dynamic_mode()) and not self._started():
            self._start(x)
        return self._rounded(x)


def register_average(quantizer: Quantizer) -> None:
    """Give a quantizer the buffers of a moving average."""
    for key, start in (("_scale", _START_SCALE), ("_state", _START_STATE), ("_accum", _START_ACCUM)):
        quantizer.register_buffer(key, paddle.full([1], start))


def start_average(quantizer: Quantizer, largest: list[float]) -> None:
    """Set a quantizer's moving average from the largest magnitudes of some batches alone."""
    accum = state = 0.0
    for value in largest:
        accum, state = quantizer.rate * accum + value, quantizer.rate * state + 1
    for name, value in (("_accum", accum), ("_state", state), ("_scale", accum / state)):
        getattr(quantizer, name).set_value(paddle.full([1], value))


class MovingAverageRange(Observed):
    """Range: the moving average of each batch's largest magnitude.

    scale = accum / state with accum <- rate * accum + max|x| and state <- rate * state + 1, from 1 and 1.
    """

    def __init__(self, layer_name: str, bits: int, rate: float) -> None:
        super().__init__(layer_name, bits)
        self.rate = rate
        self.observing = True
        register_average(self)

    def start_from(self, largest: list[float]) -> None:
        """Set the average from the largest magnitudes of some batches alone."""
        start_average(self, largest)

    def _observe(self, x: paddle.Tensor) -> paddle.Tensor:
        return fake_quant.round_by_moving_average(
            x,
            self._scale,
            self._accum,
            self._state,
            bits=self.bits,
            rate=self.rate,
            unsigned=self.unsigned,
            full_range=self.full_range,
        )

    def _started(self) -> bool:
        return self.stored("_state").item() != _START_STATE or self.stored("_scale").item() != np.float32(_START_SCALE)


class WindowRange(Observed):
    """Range: the largest magnitude of the last `window_size` batches.

    Attributes:
        observes: how processes that train together bring what they observed together.
    """

    observes: ClassVar[str] = "largest values"

    def __init__(self, layer_name: str, bits: int, window_size: int) -> None:
        super().__init__(layer_name, bits)
        self.observing = True
        self.register_buffer("_scale", paddle.zeros([1]))
        self.register_buffer("_window", paddle.zeros([window_size]))
        self.register_buffer("_next", paddle.zeros([1], "int64"))
        self.register_buffer("_slots", paddle.arange(window_size, dtype="int64"), persistable=False)

    def start_from(self, largest: list[float]) -> None:
        """Fill the window with the largest magnitudes of some batches."""
        size = self._window.shape[0]
        window = np.zeros(size, np.float32)
        recent = largest[-size:]
        window[: len(recent)] = recent
        self._window.set_value(window)
        self._next.set_value(np.array([len(recent) % size]))
        self._scale.set_value(window.max(keepdims=True))

    def _observe(self, x: paddle.Tensor) -> paddle.Tensor:
        with paddle.no_grad():
            largest = paddle.maximum(x.max(), -x.min()).reshape([1])
            window = paddle.where(self._slots == self._next, largest, self._window)
            _C_ops.assign_out_(window, self._window)
            _C_ops.assign_out_((self._next + 1) % self._window.shape[0], self._next)
            _C_ops.assign_out_(window.max().reshape([1]), self._scale)
        return self._rounded(x)

"""Fake quantization: round to a grid and back, in float, with straight-through gradients.

A grid of b bits is symmetric, -n .. n times range / n with n = 2^(b-1) - 1; an unsigned one has levels 0 .. 2^b - 1.
Halves round away from zero. The work is done by Paddle's fused operators, which clip, round and rescale in one pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

_ROUND_HALF_EVEN, _ROUND_HALF_AWAY = 0, 1
_UNUSED_RATE = 0.9
_WHOLE = 1.5 * 2.0**23


def levels(bits: int, unsigned: bool = False) -> int:
    """The largest integer of the grid: 127 for 8 bits, 255 when unsigned."""
    return 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1


def round_to_grid(
    x: paddle.Tensor, limit: paddle.Tensor, bits: int, unsigned: bool = False, full_range: bool = False
) -> paddle.Tensor:
    """Clip `x` to +-`limit` (0 .. `limit` when unsigned) and round it to the grid; no gradient is defined.

    Args:
        x: float32, any shape.
        limit: float32 [1], the largest value that the grid represents.
        bits: 2 to 16; an unsigned grid goes up to 15.
        unsigned: put all levels on the non-negative side.
        full_range: use the lowest integer too, -128 of 8 bits, and round halves to even, as LSQ does.
    """
    if full_range and reads_scalars_at_once(x) and not needs_gradient(x):
        return _round_to_even(x, np.float32(limit.item()), bits, unsigned)
    # On non-negative values the symmetric grid of one more bit is the unsigned grid.
    rounded = _C_ops.fake_quantize_dequantize_moving_average_abs_max(
        x,
        limit,
        None,
        None,
        _UNUSED_RATE,
        bits + unsigned,
        True,
        _ROUND_HALF_EVEN if full_range else _ROUND_HALF_AWAY,
    )[0]
    if not unsigned:
        return rounded
    # In place saves a pass over fresh memory, which costs as much as the rounding; a traced program has no such thing.
    return _C_ops.relu_(rounded) if paddle.in_dynamic_mode() else paddle.nn.functional.relu(rounded)


def _round_to_even(x: paddle.Tensor, limit: np.float32, bits: int, unsigned: bool) -> paddle.Tensor:
    """What Paddle's fused operator gives with the lowest integer and halves to even, in a quarter of its time on a CPU.

    It takes each value through the C library; these are passes over memory that is in the cache, all but the first.
    """
    high = 2 ** (bits + unsigned - 1) - 1
    # As the operator does: the inverse first, which has an addend where it would overflow.
    inverse = np.float32(1) / (limit if limit > np.float32(1e-30) else limit + np.float32(1e-6))
    ratio = _C_ops.scale(x, float(np.float32(high) * inverse), 0.0, True)
    ratio = _C_ops.clip_(ratio, 0.0 if unsigned else -high - 1.0, float(high))
    # Beside a number of this size a float has no fraction left, and addition rounds halves to even.
    whole = _C_ops.scale_(_C_ops.scale_(ratio, 1.0, _WHOLE, True), 1.0, -_WHOLE, True)
    return _C_ops.divide_(_C_ops.scale_(whole, float(limit), 0.0, True), paddle.full([1], float(high)))


def round_between(x: paddle.Tensor, step: paddle.Tensor, zero_point: paddle.Tensor, bits: int) -> paddle.Tensor:
    """Clip and round `x` to -`zero_point` .. 2^bits - 1 - `zero_point` times `step`; no gradient is defined.

    Halves round to even, and 0 stays exactly 0, as padding of a convolution needs it.

    Args:
        x: float32, any shape.
        step: float32 [1], what one integer stands for.
        zero_point: float32 [1], whole, from 0 to 2^bits - 1.
        bits: 2 to 15.
    """
    top = 2**bits - 1
    # A part of the symmetric grid of one more bit.
    rounded = round_to_grid(x, step * top, bits + 1, full_range=True)
    return clip_in_place(rounded, -step * zero_point, step * (top - zero_point))


def clip_in_place(x: paddle.Tensor, low: paddle.Tensor, high: paddle.Tensor) -> paddle.Tensor:
    """clip(x, low, high) without a gradient, into the memory of `x` where it can be: fresh memory costs more."""
    if reads_scalars_at_once(x):
        return _C_ops.clip_(x, low, high)
    return paddle.maximum(paddle.minimum(x, high), low)


def reads_scalars_at_once(x: paddle.Tensor) -> bool:
    """Whether a bound may be read from a tensor as a scalar; elsewhere than on the CPU that waits for the device."""
    return paddle.in_dynamic_mode() and x.place.is_cpu_place()


def largest_magnitude(x: paddle.Tensor, unsigned: bool = False) -> paddle.Tensor:
    """max|x|, [1]; when unsigned, that of the non-negative values."""
    flat = x.reshape([-1])
    # Two reductions read `x` twice, but abs would write it to fresh memory, which takes ten times as long.
    top = _C_ops.max(flat, [0], True)
    return paddle.nn.functional.relu(top) if unsigned else paddle.maximum(top, -_C_ops.min(flat, [0], True))


def observe_average(
    largest: paddle.Tensor, limit: paddle.Tensor, accum: paddle.Tensor, state: paddle.Tensor, *, rate: float
) -> None:
    """accum <- rate * accum + largest, state <- rate * state + 1, limit <- accum / state; float32 [1], in place."""
    # Given the largest magnitude alone, the operator updates as for the whole tensor, where it is three times slower.
    _, *updated = _C_ops.fake_quantize_dequantize_moving_average_abs_max(
        largest, limit, accum, state, rate, 8, False, _ROUND_HALF_AWAY
    )
    for new, old in zip(updated, (limit, state, accum), strict=True):
        _C_ops.assign_out_(new, old)


def round_by_moving_average(
    x: paddle.Tensor,
    limit: paddle.Tensor,
    accum: paddle.Tensor,
    state: paddle.Tensor,
    *,
    bits: int,
    rate: float,
    unsigned: bool = False,
    full_range: bool = False,
) -> paddle.Tensor:
    """Update the range by the largest magnitude in `x`, then round to the grid; no gradient is defined.

    `limit`, `accum` and `state` are updated as by `observe_average`. Unsigned needs a non-negative `x`. `full_range` is
    as in `round_to_grid`.
    """
    observe_average(largest_magnitude(x, unsigned), limit, accum, state, rate=rate)
    return round_to_grid(x, limit, bits, unsigned, full_range)


def round_weight(weight: paddle.Tensor, bits: int, axis: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Round a weight to one grid per channel, by its largest magnitude; the gradient passes straight through.

    Returns:
        The rounded weight and its ranges, float32 [channels].
    """
    return _C_ops.fake_channel_wise_quantize_dequantize_abs_max(weight, bits, _ROUND_HALF_AWAY, axis)


def round_by_abs_max(x: paddle.Tensor, bits: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Round a tensor to the grid of its own largest magnitude; the gradient passes straight through.

    Returns:
        The rounded tensor and its range, float32 [1].
    """
    return _C_ops.fake_quantize_dequantize_abs_max(x, bits, _ROUND_HALF_AWAY)


class StraightThrough(PyLayer):
    """Calls a rounding function and hands the gradient on as it is, without the copy that the fused operators make."""

    @staticmethod
    def forward(ctx, x: paddle.Tensor, rounding) -> paddle.Tensor:  # noqa: ANN001
        """`rounding(x)`."""
        return rounding(x)

    @staticmethod
    def backward(ctx, grad: paddle.Tensor) -> paddle.Tensor:  # noqa: ANN001
        """The gradient itself."""
        return grad


def needs_gradient(*tensors: paddle.Tensor) -> bool:
    """Whether autograd would record an operation on these tensors; never while a program is traced."""
    if not (paddle.in_dynamic_mode() and paddle.is_grad_enabled()):
        return False
    return not all(tensor.stop_gradient for tensor in tensors)


def straight_through(x: paddle.Tensor, quantize: Callable[[paddle.Tensor], paddle.Tensor]) -> paddle.Tensor:
    """`quantize(x)`, through which the gradient passes unchanged."""
    return StraightThrough.apply(x, quantize) if needs_gradient(x) else quantize(x)

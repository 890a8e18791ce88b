"""LSQ: a step size that is learned by gradient descent.

Esser et al., "Learned Step Size Quantization", ICLR 2020. v_bar = round(clip(v / s, -Qn, Qp)), v_hat = v_bar * s
(equations 1 and 2), Qn = 2^(b-1) and Qp = 2^(b-1) - 1, or 0 and 2^b - 1 unsigned. The gradient of v_hat with respect to
s is round(v / s) - v / s between the bounds, -Qn at the lower and Qp at the upper one (equation 3), scaled by
1 / sqrt(N * Qp) with N the number of weights or of features of an activation (section 2.2).

Step sizes start where the squared error of what is rounded is least on a symmetric grid, which leaves the lowest
integer out, much as LSQ+ starts (Bhalgat et al., CVPR Workshops 2020, section 3.2), not at the paper's
2 * mean|v| / sqrt(Qp): that clips a trained network hard on 2 bits, and lies at four times the largest value on 8.
"""

from __future__ import annotations

import math

import paddle
from paddle.autograd import PyLayer

from ppcls_compress.slim.quant.quantizers import fake_quant


def bounds(bits: int, unsigned: bool) -> tuple[int, int]:
    """-Qn and Qp."""
    return (0 if unsigned else -(2 ** (bits - 1))), fake_quant.levels(bits, unsigned)


def round_activation(x: paddle.Tensor, step: paddle.Tensor, bits: int, unsigned: bool) -> paddle.Tensor:
    """`x` on the grid of `step`, [1]; no gradient is defined."""
    limit = step * fake_quant.levels(bits, unsigned)
    return fake_quant.round_to_grid(x, limit, bits, unsigned, full_range=True)


def round_weight(weight: paddle.Tensor, step: paddle.Tensor, bits: int, shape: list[int]) -> paddle.Tensor:
    """`weight` on the grids of `step`, which `shape` makes broadcast along its channels; no gradient is defined."""
    step = step.reshape(shape)
    high = paddle.full([1], float(bounds(bits, unsigned=False)[1]))
    return fake_quant.round_to_grid(weight / step, high, bits, full_range=True) * step


class LsqActivationFunction(PyLayer):
    """Rounding of an activation with one step size."""

    @staticmethod
    def forward(ctx, x, s, value, bits, unsigned, features):  # noqa: ANN001
        """`value` is that of the parameter `s`, apart from it, because `s` is written in place between steps."""
        rounded = round_activation(x, value, bits, unsigned)
        ctx.save_for_backward(x, rounded, value)
        ctx.settings = (bits, unsigned, features)
        ctx.wanted = (not x.stop_gradient, not s.stop_gradient)
        return rounded

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001
        """Gradients of `x` and `s`; None for one that stops."""
        x, rounded, step = ctx.saved_tensor()
        bits, unsigned, features = ctx.settings
        low, high = bounds(bits, unsigned)
        inside = paddle.logical_and(x > step * low, x < step * high)
        grad_x = paddle.where(inside, grad, paddle.zeros_like(grad))
        error = paddle.where(inside, rounded - x, rounded)
        grad_s = (grad * error).sum().reshape([1]) / (step * math.sqrt(features * high))
        return *(value if wanted else None for value, wanted in zip((grad_x, grad_s), ctx.wanted, strict=True)), None


class LsqWeightFunction(PyLayer):
    """Rounding of a weight with one step size, or one per channel."""

    @staticmethod
    def forward(ctx, weight, s, value, bits, shape):  # noqa: ANN001
        """`value` is that of the parameter `s`; `shape` makes it broadcast along the weight's channels."""
        step = value.reshape(shape)
        low, high = bounds(bits, unsigned=False)
        ratio = weight / step
        whole = fake_quant.round_to_grid(ratio, paddle.full([1], float(high)), bits, full_range=True)
        inside = paddle.logical_and(ratio > low, ratio < high)
        ctx.save_for_backward(inside, paddle.where(inside, whole - ratio, whole))
        ctx.scaling = 1 / math.sqrt(weight.size / s.size * high)
        ctx.axes = [axis for axis, size in enumerate(shape) if size == 1]
        ctx.wanted = (not weight.stop_gradient, not s.stop_gradient)
        return whole * step

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001
        """Gradients of the weight and `s`; None for one that stops."""
        inside, slope = ctx.saved_tensor()
        grad_weight = paddle.where(inside, grad, paddle.zeros_like(grad))
        grad_s = (grad * slope).sum(axis=ctx.axes).reshape([-1]) * ctx.scaling
        gradients = zip((grad_weight, grad_s), ctx.wanted, strict=True)
        return *(value if wanted else None for value, wanted in gradients), None

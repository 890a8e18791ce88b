"""PACT: a clipping range per layer that is learned by gradient descent.

Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks", 2018: y = clip(x, 0, alpha)
(equation 1) and d y / d alpha = 1 where x >= alpha, else 0 (equation 3). The two-sided form is
y = clip(x, -alpha, alpha), so that d loss / d alpha is the sum of the gradient g where x >= alpha minus its sum where
x <= -alpha.
"""

from __future__ import annotations

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from ppcls_compress.slim.quant.quantizers.fake_quant import reads_scalars_at_once


def clip(x: paddle.Tensor, alpha: paddle.Tensor, unsigned: bool = False) -> paddle.Tensor:
    """clip(x, -alpha, alpha), or clip(x, 0, alpha) when unsigned, without a gradient for `alpha`."""
    lower = paddle.zeros_like(alpha) if unsigned else -alpha
    if reads_scalars_at_once(x):
        return _C_ops.clip(x, lower, alpha)
    return paddle.maximum(paddle.minimum(x, alpha), lower)


class Pact(PyLayer):
    """Clip by alpha and round, with the gradient of the clip; the rounding is straight-through."""

    @staticmethod
    def forward(ctx, x, log_alpha, alpha, unsigned, quantize):  # noqa: ANN001
        """`quantize(x, alpha, unsigned)` gives what `Clipped` says."""
        rounded, clipped, bound = quantize(x, alpha, unsigned)
        ctx.save_for_backward(x, clipped, alpha, bound)
        ctx.unsigned = unsigned
        ctx.wanted = (not x.stop_gradient, not log_alpha.stop_gradient)
        return rounded

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001
        """Gradients of `x` and log(alpha), which is alpha times that of alpha; None for one that stops."""
        x, clipped, alpha, bound = ctx.saved_tensor()
        grad_x, grad_alpha = clip_gradients(x, clipped, alpha, grad, ctx.unsigned, bound)
        wants_x, wants_alpha = ctx.wanted
        return grad_x if wants_x else None, grad_alpha * alpha if wants_alpha else None, None


def clip_gradients(
    x: paddle.Tensor,
    clipped: paddle.Tensor,
    alpha: paddle.Tensor,
    grad: paddle.Tensor,
    unsigned: bool,
    bound: paddle.Tensor | None = None,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Gradients of the clip with respect to `x` and `alpha`; zero for an `x` of exactly 0 when unsigned.

    Paddle has no operator that gives both at once where it is fast. On a CPU these are four passes: the gradient of
    `x`, a difference, a sum of products, and the difference undone; only the first takes fresh memory, which is what
    costs. Elsewhere they are two.

    Args:
        x: the input.
        clipped: its clip; only the elements that the clip changed are looked at.
        alpha: the range, [1].
        grad: gradient with respect to the clip's output.
        unsigned: the one-sided form.
        bound: what `clipped` holds for alpha, if it was rounded since.
    """
    lower = paddle.zeros_like(alpha) if unsigned else -alpha
    if not reads_scalars_at_once(x):
        # Each bound takes a kernel of its own.
        grad_x, above = _C_ops.minimum_grad(x, alpha, grad)
        grad_x, below = _C_ops.maximum_grad(x, lower, grad_x)
        return grad_x, above if unsigned else above - below
    grad_x = _C_ops.clip_grad(x, grad, lower, alpha)
    # What the clip stopped, with the other sign, and back; exact, because each element is 0 or the gradient's own. In
    # place, because fresh memory costs more than both passes.
    stopped = _C_ops.subtract_(grad_x, grad).reshape([-1])
    total = _C_ops.matmul(stopped, clipped.reshape([-1]), False, False).reshape([1])
    return _C_ops.add_(grad_x, grad), -total / (alpha if bound is None else bound)

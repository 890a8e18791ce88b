"""Operators that work position by position: labels pass through one operand, or the operands' labels are united."""

from __future__ import annotations

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, Unsupported, rule
from ppcls_compress.slim.prune.trace.labels import Axes
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis

_UNARY = """
    abs assign bitwise_not cast ceil celu clip cos dropout elu erf exp expm1 floor full_like gelu hardshrink
    hardsigmoid hardswish hardtanh isfinite_v2 isnan leaky_relu log log1p log2 logical_not logit logsigmoid mish
    ones_like pow reciprocal relu relu6 round rsqrt scale selu share_data sigmoid sign silu sin softplus softshrink
    softsign sqrt square stanh swish tanh tanh_shrink thresholded_relu zeros_like
"""
_BINARY = """
    add bitwise_and bitwise_or divide elementwise_pow equal floor_divide fmax fmin greater_equal greater_than
    heaviside less_equal less_than logical_and logical_or logical_xor maximum minimum multiply not_equal remainder
    subtract
"""
_COUPLED = "combined element by element with channels that stay"


@rule(*_UNARY.split())
def unary(tracing: Tracing, op: Op) -> None:
    """f(x) at every position; further operands are scalars."""
    tracing.put(op.outputs[0], tracing.axes(op.inputs[0]))
    for extra in op.outputs[1:]:
        tracing.put(extra, {})


@rule(*_BINARY.split())
def binary(tracing: Tracing, op: Op) -> None:
    """f(x, y) with broadcasting."""
    combine(tracing, op, list(op.inputs[:2]))


@rule("assign_out")
def recomputed(tracing: Tracing, op: Op) -> None:
    """A weight that a hook computes before each call of its layer."""
    raise Unsupported("its weight is computed anew at each call, as by weight_norm or spectral_norm; remove that first")


@rule("where")
def where(tracing: Tracing, op: Op) -> None:
    """Condition ? x : y with broadcasting."""
    combine(tracing, op, list(op.inputs[:3]))


@rule("add_n")
def add_n(tracing: Tracing, op: Op) -> None:
    """The sum of a list of tensors."""
    combine(tracing, op, list(op.inputs[0]))


def combine(tracing: Tracing, op: Op, values: list[str]) -> None:
    """Unites the operands' labels axis by axis; an axis of length one is broadcast and says nothing."""
    shape = tracing.shape(op.outputs[0])
    result: Axes = {}
    for axis, dim in enumerate(shape):
        sides = []
        for value in values:
            own = axis - len(shape) + len(tracing.shape(value))
            if own >= 0 and (tracing.shape(value)[own] == dim != 1):
                sides.append(tracing.axes(value).get(own))
        labelled = [labels for labels in sides if labels is not None]
        for side in sides:
            if labelled and side is not labelled[0]:
                tracing.unite(labelled[0], side, op, _COUPLED)
        if labelled:
            result[axis] = labelled[0]
    tracing.put(op.outputs[0], result)


@rule("prelu")
def prelu(tracing: Tracing, op: Op) -> None:
    """One slope for all channels or one per channel."""
    x, slope = op.inputs[:2]
    axes = tracing.axes(x)
    axis = channel_axis(op, len(tracing.shape(x)))
    if tracing.shape(slope) != (1,):
        tracing.unite(axes.get(axis), tracing.axis(slope, 0), op, _COUPLED)
    tracing.put(op.outputs[0], axes)

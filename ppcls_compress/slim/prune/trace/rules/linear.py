"""Matrix products: linear layers, and products of two activations, whose summed channels stay."""

from __future__ import annotations

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule
from ppcls_compress.slim.prune.trace.rules.convolution import origin_of


@rule("matmul", "linear")
def matmul(tracing: Tracing, op: Op) -> None:
    """x @ y; a linear layer when y is a parameter with two axes."""
    x, y = op.inputs[:2]
    flip_x, flip_y = bool(op.attrs.get("transpose_x")), bool(op.attrs.get("transpose_y"))
    if y in tracing.graph.parameters and len(tracing.shape(y)) == 2 and not flip_x and len(tracing.shape(x)) > 1:
        _linear(tracing, op, x, y, flip_y)
    else:
        _activations(tracing, op, x, y, flip_x, flip_y)


@rule("bmm")
def batched_matmul(tracing: Tracing, op: Op) -> None:
    """[b, m, k] @ [b, k, n]."""
    _activations(tracing, op, *op.inputs[:2], False, False)


def _linear(tracing: Tracing, op: Op, x: str, weight: str, flipped: bool) -> None:
    last = len(tracing.shape(x)) - 1
    axes = dict(tracing.axes(x))
    in_axis, out_axis = (1, 0) if flipped else (0, 1)
    tracing.unite(axes.pop(last, None), tracing.axis(weight, in_axis), op, "reads the network's input or a constant")
    outputs = tracing.axis(weight, out_axis)
    origin_of(tracing, op, weight, out_axis, "fc", outputs)
    if len(op.inputs) > 2 and op.inputs[2]:
        tracing.unite(outputs, tracing.axis(op.inputs[2], 0), op, "bias")
    tracing.put(op.outputs[0], {**axes, last: outputs})


def _activations(tracing: Tracing, op: Op, x: str, y: str, flip_x: bool, flip_y: bool) -> None:
    """Channels pass through only where they are not summed and the other factor has none: attention is pinned."""
    rank_x, rank_y = len(tracing.shape(x)), len(tracing.shape(y))
    axes_x, axes_y = tracing.axes(x), tracing.axes(y)
    if min(rank_x, rank_y) < 2 or (axes_x and axes_y):
        for labels in [*axes_x.values(), *axes_y.values()]:
            tracing.pin(labels, op, "a product of two activations")
        return
    rank = len(tracing.shape(op.outputs[0]))
    row = rank_x - 1 if flip_x else rank_x - 2
    column = rank_y - 2 if flip_y else rank_y - 1
    result = {}
    for axis, labels in axes_x.items():
        if axis == row:
            result[rank - 2] = labels
        else:
            tracing.pin(labels, op, "summed in a product of two activations")
    for axis, labels in axes_y.items():
        if axis == column:
            result[rank - 1] = labels
        else:
            tracing.pin(labels, op, "summed in a product of two activations")
    tracing.put(op.outputs[0], result)

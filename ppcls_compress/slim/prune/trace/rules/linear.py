"""Matrix products: linear layers, and products of two activations, whose summed channels stay."""

from __future__ import annotations

from dataclasses import dataclass

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
    left, right = _factor(tracing, x, -1, flip_x), _factor(tracing, y, -2, flip_y)
    if (x in tracing.graph.parameters) != (y in tracing.graph.parameters):
        _with_parameter(tracing, op, left, right)
        return
    axes = tracing.axes(x), tracing.axes(y)
    if left.free is None or right.free is None or all(axes):
        for labels in [*axes[0].values(), *axes[1].values()]:
            tracing.pin(labels, op, "a product of two activations")
        return
    for side, found in zip((left, right), axes, strict=True):
        for axis, labels in found.items():
            if axis != side.free:
                tracing.pin(labels, op, "summed in a product of two activations")
    rank = len(tracing.shape(op.outputs[0]))
    tracing.put(op.outputs[0], {rank - 2: axes[0].get(left.free), rank - 1: axes[1].get(right.free)})


@dataclass(frozen=True)
class _Factor:
    """One side of a product: the axis that is summed over, and the other one of the matrix, which a vector lacks."""

    value: str
    batch: int
    summed: int
    free: int | None


def _factor(tracing: Tracing, value: str, summed: int, flipped: bool) -> _Factor:
    """The side whose `summed` axis, counted from the end, is the other one of the matrix if `flipped`."""
    rank = len(tracing.shape(value))
    if rank == 1:
        return _Factor(value, 0, 0, None)
    axes = (rank + summed, rank - 3 - summed)
    return _Factor(value, rank - 2, *(reversed(axes) if flipped else axes))


def _with_parameter(tracing: Tracing, op: Op, left: _Factor, right: _Factor) -> None:
    """A parameter beside an activation: what is summed goes together, everything else passes through."""
    shape = tracing.shape(op.outputs[0])
    summed = [tracing.axis(side.value, side.summed) for side in (left, right)]
    tracing.unite(*summed, op, "reads the network's input or a constant")
    matrix = [side for side in (left, right) if side.free is not None]
    batch = len(shape) - len(matrix)
    result = {batch + position: tracing.axis(side.value, side.free) for position, side in enumerate(matrix)}
    for position in range(batch):
        places = [(side.value, position - batch + side.batch) for side in (left, right)]
        places = [(value, axis) for value, axis in places if axis >= 0 and tracing.shape(value)[axis] != 1]
        sides = [tracing.axis(value, axis) for value, axis in places]
        if len(sides) == 2:
            tracing.unite(*sides, op, "multiplied with a batch that stays")
        result[position] = next((labels for labels in sides if labels is not None), None)
    tracing.put(op.outputs[0], result)

"""Slices, assignments to slices, and picking by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Pick, Tracing, Unsupported, rule, uniform
from ppcls_compress.slim.prune.trace.labels import Axes, Labels


@dataclass(frozen=True)
class Cut:
    """start:end:step along one axis, counted from the axis' beginning; `place` is its index in the operator's lists."""

    axis: int
    start: int
    end: int
    step: int
    place: int


def _cuts(tracing: Tracing, op: Op, first: int) -> list[Cut]:
    """The slice of an operator whose bounds are the operands `first`, `first + 1` and, if there, `first + 2`."""
    shape = tracing.shape(op.inputs[0])
    axes = [int(axis) for axis in op.attrs["axes"]]
    starts, ends = tracing.constant(op, first), tracing.constant(op, first + 1)
    strided = len(op.inputs) > first + 2
    steps = tracing.constant(op, first + 2) if strided else [1] * len(axes)
    cuts = []
    for place, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        low, high, stride = slice(start, end, step).indices(shape[axis])
        cuts.append(Cut(axis, low, high, stride, place))
    return cuts


def _note(tracing: Tracing, op: Op, cut: Cut, labels: Labels, first: int) -> None:
    """The bounds follow what they count; strides over channels have no exact answer."""
    if cut.step != 1:
        tracing.pin(labels, op, "takes channels in strides")
        return
    tracing.size(op, (first, cut.place), cut.start, labels[: cut.start], labels)
    tracing.size(op, (first + 1, cut.place), cut.end, labels[: cut.end], labels)


@rule("slice", "strided_slice")
def take_slice(tracing: Tracing, op: Op) -> None:
    """x[a:b:c] along some axes; axes indexed by one number disappear and that channel stays."""
    axes = dict(tracing.axes(op.inputs[0]))
    dropped = sorted(int(axis) for axis in op.attrs.get("decrease_axis", []))
    for cut in _cuts(tracing, op, 1):
        labels = axes.get(cut.axis)
        if labels is None:
            continue
        part = labels[cut.start : cut.end : cut.step]
        if cut.axis in dropped:
            tracing.pin(labels, op, "takes one channel by its number")
            axes.pop(cut.axis)
        else:
            _note(tracing, op, cut, labels, 1)
            tracing.parts.append(part)
            axes[cut.axis] = part
    result = {axis - sum(d < axis for d in dropped): labels for axis, labels in axes.items()}
    tracing.put(op.outputs[0], result)


@rule("set_value", "set_value_with_tensor")
def set_slice(tracing: Tracing, op: Op) -> None:
    """x[a:b] = value: x keeps its labels, the value's are united with the slice's."""
    has_value = op.name == "set_value_with_tensor"
    first = 2 if has_value else 1
    axes = dict(tracing.axes(op.inputs[0]))
    if op.attrs.get("none_axes"):
        raise Unsupported("assigns to a slice with new axes")
    target: Axes = dict(axes)
    dropped = sorted(int(axis) for axis in op.attrs.get("decrease_axes", []))
    for cut in _cuts(tracing, op, first):
        if cut.axis in axes:
            _note(tracing, op, cut, axes[cut.axis], first)
            target[cut.axis] = axes[cut.axis][cut.start : cut.end]
            tracing.parts.append(target[cut.axis])
            if cut.axis in dropped:
                tracing.pin(axes[cut.axis], op, "assigns to one channel by its number")
    if has_value:
        _unite_value(tracing, op, target, dropped)
    tracing.put(op.outputs[0], axes)


def _unite_value(tracing: Tracing, op: Op, target: Axes, dropped: list[int]) -> None:
    value = op.inputs[1]
    left = [axis for axis in range(len(tracing.shape(op.inputs[0]))) if axis not in dropped]
    offset = len(left) - len(tracing.shape(value))
    for position, axis in enumerate(left):
        own = position - offset
        if own >= 0 and tracing.shape(value)[own] > 1:
            tracing.unite(target.get(axis), tracing.axes(value).get(own), op, "assigned over channels that stay")


@rule("index_select", "gather")
def index_select(tracing: Tracing, op: Op) -> None:
    """x at the given positions of one axis. Positions in a buffer can be counted anew, others keep the axis whole."""
    axis = op.attrs.get("axis")
    if axis is None:
        axis = tracing.constant(op, 2)[0]
    rank = len(tracing.shape(op.inputs[0]))
    axis = int(axis) % rank
    axes = dict(tracing.axes(op.inputs[0]))
    buffer = tracing.graph.parameters.get(op.inputs[1])
    if axis in axes and buffer is not None and len(tracing.shape(op.inputs[1])) == 1:
        axes[axis] = _pick(tracing, op, buffer, axes[axis])
    else:
        kept = [a for a in range(rank) if a != axis]
        axes = tracing.only(op, op.inputs[0], kept, "picks channels by numbers that are data")
    tracing.put(op.outputs[0], axes)


def _pick(tracing: Tracing, op: Op, buffer: str, labels: Labels) -> Labels:
    earlier = tracing.picks.get(buffer)
    if earlier is None:
        index = tracing.graph.tensors[buffer].numpy() % len(labels)
        earlier = tracing.picks[buffer] = Pick(index, labels)
    tracing.unite(earlier.labels, labels, op, "picked by the same numbers as channels that stay")
    return labels[earlier.index]


@rule("flip", "roll", "reverse")
def move_along(tracing: Tracing, op: Op) -> None:
    """Reorders positions along the given axes."""
    rank = len(tracing.shape(op.inputs[0]))
    moved = {int(axis) % rank for axis in op.attrs["axis"]}
    kept = [axis for axis in range(rank) if axis not in moved]
    tracing.put(op.outputs[0], tracing.only(op, op.inputs[0], kept, "moves channels by a fixed distance"))


@rule("repeat_interleave")
def repeat_interleave(tracing: Tracing, op: Op) -> None:
    """Every position `repeats` times in a row."""
    axes = dict(tracing.axes(op.inputs[0]))
    axis = int(op.attrs["axis"]) % len(tracing.shape(op.inputs[0]))
    if axis in axes:
        axes[axis] = np.repeat(axes[axis], int(op.attrs["repeats"]))
    tracing.put(op.outputs[0], axes)


@rule("tile")
def tile(tracing: Tracing, op: Op) -> None:
    """The whole axis again and again."""
    shape, result_shape = tracing.shape(op.inputs[0]), tracing.shape(op.outputs[0])
    shift = len(result_shape) - len(shape)
    axes = {
        axis + shift: np.tile(uniform(labels, shape[axis]), result_shape[axis + shift] // shape[axis])
        for axis, labels in tracing.axes(op.inputs[0]).items()
    }
    tracing.put(op.outputs[0], axes)


@rule("expand", "expand_as")
def expand(tracing: Tracing, op: Op) -> None:
    """Axes of length one are repeated. A new length of `expand` is a number; `expand_as` takes the other tensor's."""
    shape, result_shape = tracing.shape(op.inputs[0]), tracing.shape(op.outputs[0])
    shift = len(result_shape) - len(shape)
    like = tracing.axes(op.inputs[1]) if op.name == "expand_as" and len(op.inputs) > 1 and op.inputs[1] else None
    given = None if like is not None else tracing.constant(op, 1)
    axes = {axis + shift: labels for axis, labels in tracing.axes(op.inputs[0]).items()}
    for axis, dim in enumerate(result_shape):
        repeated = dim > 1 and (axis < shift or shape[axis - shift] == 1)
        if like is not None and repeated:
            axes[axis] = like.get(axis)
        elif given is not None and dim > 1 and given[axis] > 0:
            if repeated:
                axes[axis] = tracing.book.fresh(dim)
            tracing.size(op, (1, axis), dim, axes.get(axis))
    tracing.put(op.outputs[0], axes)

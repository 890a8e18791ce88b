"""Reshape, flatten, transpose, squeeze, unsqueeze."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppcls_compress.slim.graph import Op, Shape
from ppcls_compress.slim.prune.trace.context import Tracing, Unsupported, rule
from ppcls_compress.slim.prune.trace.labels import Axes, Labels, Pin, components


@rule("transpose")
def transpose(tracing: Tracing, op: Op) -> None:
    """Axes in another order."""
    axes = tracing.axes(op.inputs[0])
    order = [int(axis) % len(tracing.shape(op.inputs[0])) for axis in op.attrs["perm"]]
    tracing.put(op.outputs[0], {new: axes[old] for new, old in enumerate(order) if old in axes})


@rule("reshape", "flatten", "squeeze", "unsqueeze", "view_shape", "view")
def reshape(tracing: Tracing, op: Op) -> None:
    """The same elements in row-major order under another shape.

    A channel axis that is cut into several is pruned along one of them, the same positions everywhere else: only so
    does the smaller tensor still have a rectangular shape. It is the one along which most channels can go by
    themselves: as a rule the longest, another where the channels along that go together anyway.
    """
    source, target = tracing.shape(op.inputs[0]), tracing.shape(op.outputs[0])
    axes = tracing.axes(op.inputs[0])
    if -1 in (*source, *target):
        raise Unsupported("shapes are computed at run time")
    result: Axes = {}
    for old, new in _blocks(source, target):
        labelled = [axis for axis in old if axis in axes]
        if not labelled:
            continue
        if len(labelled) > 1:
            for axis in labelled:
                tracing.pin(axes[axis], op, "two channel axes become one")
            continue
        flat = _flatten(axes[labelled[0]], source, old, labelled[0])
        result.update(_unflatten(tracing, op, flat, target, new))
    tracing.put(op.outputs[0], result)
    if op.name == "reshape":
        given = tracing.graph.ints(op.inputs[1]) if len(op.inputs) > 1 and op.inputs[1] else None
        for axis, value in enumerate(given or []):
            if value > 0:
                tracing.size(op, (1, axis), value, result.get(axis))


def _blocks(source: Shape, target: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of source axes and of target axes that hold the same number of elements, as short as possible."""
    i = j = 0
    while i < len(source) or j < len(target):
        old, new = [], []
        left = right = 1
        while not (old or new) or left != right:
            if left <= right and i < len(source):
                left *= source[i]
                old.append(i)
                i += 1
            elif j < len(target):
                right *= target[j]
                new.append(j)
                j += 1
            else:
                break
        if old and not new and j < len(target) and target[j] == 1:
            new.append(j)
            j += 1
        yield old, new


def _flatten(labels: Labels, source: Shape, old: list[int], axis: int) -> Labels:
    dims = [source[a] for a in old]
    shape = [len(labels) if a == axis else 1 for a in old]
    return np.broadcast_to(labels.reshape(shape), dims).ravel()


def _unflatten(tracing: Tracing, op: Op, flat: Labels, target: Shape, new: list[int]) -> Axes:
    """Labels along each target axis of a block, united across the axes they are not pruned along."""
    grid = flat.reshape([target[axis] for axis in new])
    varying = [k for k in range(grid.ndim) if not np.array_equal(grid, np.broadcast_to(grid.take([0], k), grid.shape))]
    if not varying:
        tracing.pin(flat[:1], op, "all of its channels must go together")
        return {}
    along = varying[0]
    if len(varying) > 1:
        along = max(varying, key=lambda k: (_freedom(tracing, grid, k), grid.shape[k], k))
    rows = np.moveaxis(grid, along, -1).reshape(-1, grid.shape[along])
    if len(varying) > 1:
        rows = np.unique(rows, axis=0)
        tracing.book.unite_rows(rows, Pin(op.name, "cut into several axes together with channels that stay"))
    return {new[along]: rows[0]}


def _freedom(tracing: Tracing, grid: Labels, axis: int) -> int:
    """How many positions along an axis could go by themselves, if everything at one position goes together."""
    rows = np.moveaxis(tracing.book.united(grid), axis, 0).reshape(grid.shape[axis], -1)
    names, classes = np.unique(rows, return_inverse=True)
    classes = 1 + classes.reshape(rows.shape)  # 0 is no label
    root = components(len(names) + 1, [(np.broadcast_to(classes[:, :1], classes.shape), classes)])
    return len(np.unique(root[1:]))

"""Padding. Channels of a constant that padding adds are channels like others: their number follows their partners'."""

from __future__ import annotations

import numpy as np

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule
from ppcls_compress.slim.prune.trace.labels import Axes


@rule("pad")
def pad(tracing: Tracing, op: Op) -> None:
    """`paddings` holds (before, after) for every axis."""
    amounts = [int(v) for v in op.attrs["paddings"]]
    axes = dict(tracing.axes(op.inputs[0]))
    for axis in range(len(amounts) // 2):
        before, after = amounts[2 * axis : 2 * axis + 2]
        if axis in axes and (before or after):
            _pad_labels(tracing, op, axes, axis, (before, after), [("paddings", 2 * axis), ("paddings", 2 * axis + 1)])
    tracing.put(op.outputs[0], axes)


@rule("pad3d")
def pad3d(tracing: Tracing, op: Op) -> None:
    """`paddings` counts from the last spatial axis outwards: (left, right, top, bottom, front, back)."""
    x = op.inputs[0]
    rank = len(tracing.shape(x))
    last_spatial = rank - 2 if str(op.attrs["data_format"]).endswith("C") else rank - 1
    amounts = tracing.constant(op, 1)
    axes = dict(tracing.axes(x))
    for step in range(len(amounts) // 2):
        axis, (before, after) = last_spatial - step, amounts[2 * step : 2 * step + 2]
        if axis not in axes or not (before or after):
            continue
        if op.attrs["mode"] == "constant":
            _pad_labels(tracing, op, axes, axis, (before, after), [(1, 2 * step), (1, 2 * step + 1)])
        else:
            tracing.pin(axes.pop(axis), op, f"{op.attrs['mode']} padding along channels")
    tracing.put(op.outputs[0], axes)


def _pad_labels(
    tracing: Tracing, op: Op, axes: Axes, axis: int, amounts: tuple[int, int], slots: list[tuple[int | str, int]]
) -> None:
    sides = [tracing.book.fresh(amount) for amount in amounts]
    for slot, amount, side in zip(slots, amounts, sides, strict=True):
        tracing.size(op, slot, amount, side)
    axes[axis] = np.concatenate([sides[0], axes[axis], sides[1]])

"""Operators on the spatial axes: pooling, resizing, sampling, unfolding."""

from __future__ import annotations

import numpy as np

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule
from ppcls_compress.slim.prune.trace.labels import Pin
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis


@rule(
    "pool2d",
    "pool3d",
    "lp_pool2d",
    "max_pool2d_with_index",
    "max_pool3d_with_index",
    "nearest_interp",
    "bilinear_interp",
    "bicubic_interp",
    "linear_interp",
    "trilinear_interp",
    "grid_sample",
)
def per_channel(tracing: Tracing, op: Op) -> None:
    """Every channel by itself; channels that lie on the spatial axes stay."""
    x = op.inputs[0]
    axis = channel_axis(op, len(tracing.shape(x)))
    axes = tracing.only(op, x, [0, axis], "positions are mixed along it")
    for output in op.outputs:
        tracing.put(output, axes)


@rule("unfold")
def unfold(tracing: Tracing, op: Op) -> None:
    """[N, C, H, W] -> [N, C * kh * kw, L]."""
    axes = tracing.only(op, op.inputs[0], [0, 1], "positions are mixed along it")
    window = int(np.prod(op.attrs["kernel_sizes"]))
    tracing.put(op.outputs[0], {0: axes.get(0), 1: np.repeat(axes[1], window) if 1 in axes else None})


@rule("fold")
def fold(tracing: Tracing, op: Op) -> None:
    """[N, C * kh * kw, L] -> [N, C, H, W]."""
    axes = tracing.only(op, op.inputs[0], [0, 1], "positions are mixed along it")
    _merge(tracing, op, axes.get(0), axes.get(1), int(np.prod(op.attrs["kernel_sizes"])), 1)


@rule("pixel_shuffle")
def pixel_shuffle(tracing: Tracing, op: Op) -> None:
    """[N, C * r * r, H, W] -> [N, C, H * r, W * r]."""
    axis = channel_axis(op, len(tracing.shape(op.inputs[0])))
    axes = tracing.only(op, op.inputs[0], [0, axis], "positions are mixed along it")
    _merge(tracing, op, axes.get(0), axes.get(axis), int(op.attrs["upscale_factor"]) ** 2, axis)


@rule("pixel_unshuffle")
def pixel_unshuffle(tracing: Tracing, op: Op) -> None:
    """[N, C, H, W] -> [N, C * r * r, H / r, W / r]."""
    axis = channel_axis(op, len(tracing.shape(op.inputs[0])))
    axes = tracing.only(op, op.inputs[0], [0, axis], "positions are mixed along it")
    window = int(op.attrs["downscale_factor"]) ** 2
    tracing.put(op.outputs[0], {0: axes.get(0), axis: np.repeat(axes[axis], window) if axis in axes else None})


@rule("channel_shuffle")
def channel_shuffle(tracing: Tracing, op: Op) -> None:
    """Reads [groups, C / groups] column by column; the same positions of every group go together."""
    axis = channel_axis(op, len(tracing.shape(op.inputs[0])))
    axes = dict(tracing.axes(op.inputs[0]))
    if axis in axes:
        grid = axes[axis].reshape(int(op.attrs["groups"]), -1)
        tracing.book.unite_rows(grid, Pin(op.name, "shuffled with channels that stay"))
        axes[axis] = grid.T.ravel()
    tracing.put(op.outputs[0], axes)


def _merge(tracing: Tracing, op: Op, batch: object, labels: np.ndarray | None, window: int, axis: int) -> None:
    """`window` neighbouring input channels make one output channel, so they go together."""
    if labels is not None:
        grid = labels.reshape(-1, window)
        tracing.book.unite_rows(grid.T, Pin(op.name, "merged with channels that stay"))
        labels = grid[:, 0]
    tracing.put(op.outputs[0], {0: batch, axis: labels})

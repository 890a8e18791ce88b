"""Normalizations and softmax: per channel they pass labels on, over channels they pin them."""

from __future__ import annotations

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule
from ppcls_compress.slim.prune.trace.labels import Labels, Pin
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis

_STAYING = "normalizes channels that stay"


def _bind(tracing: Tracing, op: Op, labels: Labels | None, positions: tuple[int, ...]) -> None:
    for position in positions:
        if position < len(op.inputs) and op.inputs[position]:
            tracing.unite(labels, tracing.axis(op.inputs[position], 0), op, _STAYING)


@rule("batch_norm", "sync_batch_norm")
def batch_norm(tracing: Tracing, op: Op) -> None:
    """Operands: x, mean, variance, scale, bias."""
    x = op.inputs[0]
    axes = tracing.axes(x)
    _bind(tracing, op, axes.get(channel_axis(op, len(tracing.shape(x)))), (1, 2, 3, 4))
    tracing.put(op.outputs[0], axes)


@rule("instance_norm")
def instance_norm(tracing: Tracing, op: Op) -> None:
    """Operands: x, scale, bias; statistics over the axes after the first two."""
    axes = tracing.only(op, op.inputs[0], [0, 1], "statistics are taken over it")
    _bind(tracing, op, axes.get(1), (1, 2))
    tracing.put(op.outputs[0], axes)


@rule("group_norm")
def group_norm(tracing: Tracing, op: Op) -> None:
    """Operands: x, scale, bias. Only whole groups can go, or the others' statistics would change."""
    x, groups = op.inputs[0], int(op.attrs["groups"])
    axis = channel_axis(op, len(tracing.shape(x)))
    axes = tracing.only(op, x, [0, axis], "statistics are taken over it")
    labels = axes.get(axis)
    if labels is not None:
        if groups == 1:
            tracing.pin(labels, op, "one group: statistics are taken over all channels")
        grid = labels.reshape(groups, -1)
        tracing.book.unite_rows(grid.T, Pin(op.name, _STAYING))
        tracing.size(op, ("groups", None), groups, grid[:, 0])
    _bind(tracing, op, labels, (1, 2))
    tracing.put(op.outputs[0], axes)


@rule("layer_norm")
def layer_norm(tracing: Tracing, op: Op) -> None:
    """Operands: x, scale, bias; everything from begin_norm_axis on is one population."""
    kept = range(int(op.attrs["begin_norm_axis"]))
    tracing.put(op.outputs[0], tracing.only(op, op.inputs[0], kept, "statistics are taken over all channels"))


@rule("softmax", "log_softmax", "cumsum")
def along_one_axis(tracing: Tracing, op: Op) -> None:
    """Mixes the positions of one axis, which therefore stay."""
    rank = len(tracing.shape(op.inputs[0]))
    given = op.attrs["axis"] if "axis" in op.attrs else tracing.constant(op, 1)[0]
    mixed = int(given) % rank
    kept = [axis for axis in range(rank) if axis != mixed]
    tracing.put(op.outputs[0], tracing.only(op, op.inputs[0], kept, "mixes channels"))

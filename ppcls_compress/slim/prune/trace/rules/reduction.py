"""Reductions: they pass on the axes they leave alone and pin the ones they sum over."""

from __future__ import annotations

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule


@rule(
    "mean", "sum", "max", "min", "amax", "amin", "prod", "logsumexp", "any", "all", "p_norm", "frobenius_norm", "norm"
)
def reduce(tracing: Tracing, op: Op) -> None:
    """Over the axes given as an attribute or as the second operand; none given means all."""
    x = op.inputs[0]
    rank = len(tracing.shape(x))
    given = op.attrs.get("axis")
    if given is None:
        given = tracing.constant(op, 1) if len(op.inputs) > 1 else []
    reduced = {axis % rank for axis in ([given] if isinstance(given, int) else given)} or set(range(rank))
    left = [axis for axis in range(rank) if axis not in reduced]
    axes = tracing.only(op, x, left, "reduced over all channels")
    keepdim = len(tracing.shape(op.outputs[0])) == rank
    tracing.put(op.outputs[0], axes if keepdim else {left.index(axis): labels for axis, labels in axes.items()})


@rule("argmax", "argmin", "top_k", "topk")
def select(tracing: Tracing, op: Op) -> None:
    """Positions are compared with each other along one axis."""
    for labels in tracing.axes(op.inputs[0]).values():
        tracing.pin(labels, op, "compares channels")

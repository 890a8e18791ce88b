"""Operators that make tensors out of nothing."""

from __future__ import annotations

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule


@rule(
    "data",
    "full_int_array",
    "assign_value",
    "arange",
    "linspace",
    "gaussian",
    "uniform",
    "shape",
    "shape64",
    "numel",
    "full_with_tensor",
    "eye",
)
def unlabelled(tracing: Tracing, op: Op) -> None:
    """Inputs and constants: nothing in them can be removed."""
    for output in op.outputs:
        tracing.put(output, {})


@rule("full")
def full(tracing: Tracing, op: Op) -> None:
    """One number everywhere, so any axis may shrink if the size it was made with does."""
    shape = tracing.shape(op.outputs[0])
    axes = {}
    if len(shape) > 1:
        for axis, dim in enumerate(shape):
            if dim > 1:
                axes[axis] = tracing.book.fresh(dim)
                tracing.size(op, ("shape", axis), dim, axes[axis])
    tracing.put(op.outputs[0], axes)

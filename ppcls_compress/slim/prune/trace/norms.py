"""Which batch norm scales a layer's own output."""

from __future__ import annotations

import numpy as np

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Origin, Tracing
from ppcls_compress.slim.prune.trace.labels import Labels
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis

_NORMS = ("batch_norm", "sync_batch_norm")
_SCALE = 3
"""Position of the scale among a batch norm's operands."""


def norms_behind(tracing: Tracing) -> dict[str, str]:
    """Weight -> scale of the batch norm that reads its layer's output, by state-dict names; those without are left out.

    Between the two may be a bias, an activation, a change of layout or a pooling, but nothing that mixes in other
    channels: the batch norm behind a sum or a concatenation is not one layer's.
    """
    readers: dict[str, list[Op]] = {}
    fixed = set(tracing.graph.parameters)
    for op in tracing.graph.ops:
        inputs = tracing.flat_inputs(op)
        for value in dict.fromkeys(inputs):
            readers.setdefault(value, []).append(op)
        if op.name != "data" and fixed.issuperset(inputs):
            fixed.update(op.outputs)
    found = {origin.weight: _norm_behind(tracing, readers, fixed, origin) for origin in tracing.origins.values()}
    return {weight: scale for weight, scale in found.items() if scale is not None}


def _norm_behind(tracing: Tracing, readers: dict[str, list[Op]], fixed: set[str], origin: Origin) -> str | None:
    """Goes on from the layer's output through operators whose other operands do not depend on the network's input."""
    values = [origin.output]
    for value in values:
        for op in readers.get(value, []):
            scale = tracing.graph.parameters.get(op.inputs[_SCALE]) if op.name in _NORMS else None
            if scale is not None and _is(tracing.axis(value, channel_axis(op, len(tracing.shape(value)))), origin):
                return scale
            alone = fixed.issuperset(other for other in tracing.flat_inputs(op) if other != value)
            if (
                alone
                and op.outputs
                and any(_is(labels, origin) for labels in tracing.values.get(op.outputs[0], {}).values())
            ):
                values.append(op.outputs[0])
    return None


def _is(labels: Labels | None, origin: Origin) -> bool:
    return labels is not None and np.array_equal(labels, origin.labels)

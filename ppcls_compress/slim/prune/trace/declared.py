"""What Paddle's own layers declare about the shapes of their parameters, and which channels that counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import paddle
from paddle import nn

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing
from ppcls_compress.slim.prune.trace.formula import Held
from ppcls_compress.slim.prune.trace.labels import Labels
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis

_WEIGHTS = ("weight", "_weight", "scale")
"""What Paddle's layers call their weight; PReLU's is `_weight`, an instance norm's `scale`."""

_OF_OUTPUT = ("_out_channels", "out_features")
"""Attributes that count a layer's outputs; all others count its inputs."""


def sizes_of(layer: nn.Layer) -> dict[str, object]:
    """What Paddle's own layers remember of their parameters' shapes, as it should be for the shapes they have now.

    A convolution's `_groups` is not here: it follows from the network around it.
    """
    weight = next((found for name in _WEIGHTS if (found := getattr(layer, name, None)) is not None), None)
    if not isinstance(weight, paddle.Tensor):
        return {}
    shape = list(weight.shape)
    found: dict[str, object] = {}
    if isinstance(layer, nn.Conv1DTranspose | nn.Conv2DTranspose | nn.Conv3DTranspose):
        found = {"_in_channels": shape[0], "_out_channels": shape[1] * layer._groups}
    elif isinstance(layer, nn.Conv1D | nn.Conv2D | nn.Conv3D):
        found = {"_in_channels": shape[1] * layer._groups, "_out_channels": shape[0]}
    elif isinstance(layer, nn.GroupNorm):
        found = {"_num_channels": shape[0]}
    elif isinstance(layer, nn.LayerNorm):
        found = {"_normalized_shape": shape}
    elif hasattr(layer, "_num_features"):
        found = {"_num_features": shape[0]}
    elif isinstance(layer, nn.PReLU):
        found = {"_num_parameters": shape[0]}
    elif isinstance(layer, nn.Linear):
        found = {"in_features": shape[0], "out_features": shape[1]}
    return {name: value for name, value in found.items() if hasattr(layer, name)}


def declared(tracing: Tracing, attributes: Iterable[Held]) -> Iterator[tuple[Held, Labels]]:
    """The channels that those of the attributes count which are a layer's declarations."""
    found = [held for held in attributes if not held.index and held.name in sizes_of(tracing.layers[held.layer])]
    weighing = _weighing(tracing) if found else {}
    for held in found:
        op = weighing.get(held.layer)
        labels = None if op is None else _side(tracing, op, held.name in _OF_OUTPUT)
        if labels is not None:
            yield held, labels


def _weighing(tracing: Tracing) -> dict[str, Op]:
    """Layer -> the first operator that works with its weight."""
    found: dict[str, Op] = {}
    for op in tracing.graph.ops:
        weights = {f"{op.owner}.{name}".lstrip(".") for name in _WEIGHTS}
        if any(tracing.graph.parameters.get(value) in weights for value in tracing.flat_inputs(op)[1:]):
            found.setdefault(op.owner, op)
    return found


def _side(tracing: Tracing, op: Op, output: bool) -> Labels | None:
    value = op.outputs[0] if output else op.inputs[0]
    rank = len(tracing.shape(value))
    axis = rank - 1 if op.name in ("matmul", "linear") else channel_axis(op, rank)
    return tracing.axes(value).get(axis)

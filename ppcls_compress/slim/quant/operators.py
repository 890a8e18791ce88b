"""Weights that operators of a forward pass multiply with and that no layer holds which could be quantized."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import paddle

from ppcls_compress.slim.cost import multiply_adds
from ppcls_compress.slim.graph import CaptureError, Graph, capture
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.quant.layers import base_type
from ppcls_compress.slim.quant.select import Skipped, is_weighted


def left_to_operators(model: paddle.nn.Layer, inputs: Inputs, known: Collection[str]) -> list[Skipped]:
    """The parameters with which `forward` itself computes convolutions and matrix products; they stay float.

    Those of layers that are quantized, which `forward` may read beside, are not among them.

    Args:
        model: before its layers are swapped; not changed.
        inputs: what it takes.
        known: names of layers about whose weights something is said already.

    Returns:
        One for each parameter, under its own name; none where the forward pass cannot be captured.
    """
    own = set(_of_no_layer(model, known))
    if not own:
        return []
    try:
        graph = capture(model, inputs)
    except CaptureError:
        return []
    reason = "forward computes with it by an operator, where quantization needs a layer such as Conv2D or Linear"
    return [Skipped(name, operator, reason) for name, operator in _readers(graph, own).items()]


def _of_no_layer(model: paddle.nn.Layer, known: Collection[str]) -> Iterator[str]:
    """Names of matrices and kernels that no layer of a usual kind holds."""
    for path, layer in model.named_sublayers(include_self=True):
        if path in known or base_type(layer) or is_weighted(layer):
            continue
        for name, parameter in layer.named_parameters(include_sublayers=False):
            if parameter.ndim > 1:
                yield f"{path}.{name}".lstrip(".")


def _readers(graph: Graph, names: Collection[str]) -> dict[str, str]:
    """Parameter -> the first operator that multiplies with it, or with what is computed from it and constants alone."""
    held: dict[str, str | None] = {value: name if name in names else None for value, name in graph.parameters.items()}
    found: dict[str, str] = {}
    for op in graph.ops:
        given = [
            value for item in op.inputs if item is not None for value in ([item] if isinstance(item, str) else item)
        ]
        named = dict.fromkeys(name for value in given if (name := held.get(value)) is not None)
        if op.name != "data" and all(value in held for value in given):
            held.update(dict.fromkeys(op.outputs, next(iter(named), None)))
        elif op.name == "einsum" or multiply_adds(op, graph.shapes) is not None:
            found = {**dict.fromkeys(named, op.name), **found}
    return found

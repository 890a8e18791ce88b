"""The most exact layout: pairs on the inputs of quantized layers and nowhere else, as training had them.

Signed integers with zero point 0, which TensorRT wants as well; biases stay float. OpenVINO computes the layers on
integer kernels, and fuses what is between two of them (activations, additions) into the first one in float.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppcls_compress.deploy.onnx.graph import Graph
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode
from ppcls_compress.deploy.onnx.qdq import Grid, clip, quantize_tensor, quantize_weight


def place(graph: Graph, nodes: Sequence[QuantizedNode]) -> None:
    """Put the pairs into a simplified graph, in place; layers that share input and grid share the pair."""
    rounded: dict[tuple[str, InputRange], str] = {}
    for item in nodes:
        quantize_weight(graph, item.node, item.integers, item.scale, item.axis)
        key = (item.node.inputs[0], item.input)
        if key in rounded:
            graph.set_input(item.node, 0, rounded[key])
            continue
        if item.input.bounds is not None:
            clip(graph, item.node, *item.input.bounds)
        rounded[key] = quantize_tensor(graph, item.node.inputs[0], _grid(item.input), [item.node])


def _grid(inputs: InputRange) -> Grid:
    scale = inputs.limit / inputs.levels
    return Grid(scale, 0, "uint8" if inputs.unsigned else "int8")

"""The most exact layout: pairs on the inputs of quantized layers and nowhere else, as training had them.

Zero point 0 but at concatenations, uint8 for unsigned grids and int8 for signed ones, of which TensorRT takes only
the second; biases stay float. OpenVINO computes the layers on integer kernels, and fuses what is between two of them
(activations, additions) into the first one in float.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import computed_by, insert_before
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode
from ppcls_compress.deploy.onnx.qdq import Grid, clip, quantize_tensor, quantize_weight


def place(nodes: Sequence[QuantizedNode]) -> None:
    """Put the pairs into a simplified graph, in place; layers that share input and grid share the pair."""
    rounded: dict[tuple[ir.Value, InputRange], ir.Value] = {}
    for item in nodes:
        quantize_weight(item.node, item.integers, item.scale, item.axis)
        key = (item.node.inputs[0], item.input)
        if key in rounded:
            item.node.replace_input_with(0, rounded[key])
            continue
        if item.input.bounds is not None:
            clip(item.node, *item.input.bounds)
        rounded[key] = _quantize(item.node, _grid(item.input))


def _quantize(node: ir.Node, grid: Grid) -> ir.Value:
    """Let a node read its first input rounded; returns the rounded tensor.

    What a concatenation gives is rounded piece by piece, which is the same, and on unsigned integers: OpenVINO 2026.4
    computes nonsense from a concatenation in int8 one of whose pieces is never negative.
    """
    source = node.inputs[0]
    if computed_by(source) != "Concat":
        return quantize_tensor(source, grid, [node])
    grid = Grid(grid.scale, 128, "uint8") if grid.dtype == "int8" else grid
    concat = source.producer()
    pieces = [quantize_tensor(piece, grid, []) for piece in concat.inputs]
    rounded = insert_before(node, "Concat", pieces, f"{source.name}.rounded", **concat.attributes)
    node.replace_input_with(0, rounded)
    return rounded


def _grid(inputs: InputRange) -> Grid:
    scale = inputs.limit / inputs.levels
    return Grid(scale, 0, "uint8" if inputs.unsigned else "int8")

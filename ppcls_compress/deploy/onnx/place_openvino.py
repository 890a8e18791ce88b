"""The most exact layout: pairs on the inputs of quantized layers and nowhere else, as training had them.

uint8 for unsigned grids and for those with a zero point of their own, int8 with zero point 0 for symmetric ones but at
concatenations; what depthwise convolutions read has a scale for each channel. Biases stay float. OpenVINO computes the
layers on integer kernels, and fuses what is between two of them (activations, additions) into the first one in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import add_constant, computed_by, insert_before
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode
from ppcls_compress.deploy.onnx.qdq import Grid, clip, clip_by_channel, quantize_tensor, quantize_weight


def place(nodes: Sequence[QuantizedNode]) -> None:
    """Put the pairs into a simplified graph, in place; layers that share input and grid share the pair."""
    rounded: dict[tuple[ir.Value, InputRange], ir.Value] = {}
    for item in map(_divided, nodes):
        quantize_weight(item.node, item.integers, item.scale, item.axis)
        key = (item.node.inputs[0], item.input)
        if key in rounded:
            item.node.replace_input_with(0, rounded[key])
            continue
        clip_to_grid(item)
        rounded[key] = _quantize(item.node, _grid(item.input))


def _divided(item: QuantizedNode) -> QuantizedNode:
    """A node that reads a concatenation with a range per channel reads it divided; its weights take the factors over.

    OpenVINO 2026.4 moves a pair with scales per channel before the concatenation without cutting all of its constants
    to the pieces, and fails. A depthwise convolution is the only reader that has such ranges.
    """
    source = item.node.inputs[0]
    if item.input.factors is None or computed_by(source) != "Concat":
        return item
    factors = np.asarray(item.input.factors, np.float64)
    name = f"{item.node.outputs[0].name}.divided"
    inverse = add_constant(item.node.graph, f"{name}.by", (1 / factors).astype(np.float32).reshape(1, -1, 1, 1))
    item.node.replace_input_with(0, insert_before(item.node, "Mul", [source, inverse], name))
    scale = (item.scale * factors).astype(np.float32)
    return replace(item, scale=scale, input=replace(item.input, factors=None))


def clip_to_grid(item: QuantizedNode) -> None:
    """Clip what a quantized node reads, where saturating integers alone would not keep it on its grid."""
    if item.input.bounds is None:
        return
    if item.input.factors is None:
        clip(item.node, *item.input.bounds)
        return
    low, high = (bound * np.asarray(item.input.factors, np.float64) for bound in item.input.bounds)
    clip_by_channel(item.node, low, high)


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
    if inputs.zero_point is not None:
        return Grid(inputs.scale, inputs.zero_point, "uint8", inputs.factors)
    return Grid(inputs.scale, 0, "uint8" if inputs.unsigned else "int8", inputs.factors)

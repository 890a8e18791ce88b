"""Ranges per channel where a runtime's kernels know one scale for each tensor.

ONNX Runtime's convolutions read and give tensors of one scale. A factor per channel is exact there all the same, for it
goes where scales per channel exist: into the weights of the depthwise convolution that reads the tensor and of the
convolution that gives it. Where an activation in float is between, a multiplication has the factors: pairs with a scale
per channel would be six times as slow, for ONNX Runtime keeps the channels last and then rounds them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import add_constant, computed_by, constant, insert_after, only_reader, redirect
from ppcls_compress.deploy.onnx.layers import QuantizedNode
from ppcls_compress.deploy.onnx.qdq import Grid, quantize_tensor

IN_FLOAT = ("HardSwish", "HardSigmoid", "Elu", "Tanh")
"""Activations without an integer kernel in ONNX Runtime."""
_LEVELS = 255
_SLACK = 1 + 1e-6
_WORTH = 4.0  # on a published PP-LCNet, half of the multiplications for the same answers

Items = dict[ir.Node, QuantizedNode]
"""The quantized nodes of a graph, whose weights are still to be replaced by integers."""


def is_depthwise(node: ir.Node) -> bool:
    """Whether a convolution computes each of its channels from one channel of its input."""
    if node.op_type != "Conv" or node.inputs[1].shape is None:
        return False
    groups, outputs, inputs = node.attributes.get_int("group", 1), *node.inputs[1].shape[:2]
    return groups == outputs > 1 and inputs == 1


def reads_alone(value: ir.Value, items: Mapping[ir.Node, QuantizedNode]) -> bool:
    """Whether one depthwise convolution on integers is all that reads a tensor."""
    reader = only_reader(value)
    return reader in items and is_depthwise(reader)


def feeds_float(value: ir.Value, items: Mapping[ir.Node, QuantizedNode]) -> bool:
    """Whether a convolution on integers gives a tensor and all that reads it is an activation in float."""
    reader = only_reader(value)
    return reader is not None and reader.op_type in IN_FLOAT and value.producer() in items and _is_conv(value)


def factors_pay(before: Grid, after: Grid) -> bool:
    """Whether one step for all channels of what an activation reads would make much more noise than a step for each.

    A multiplication in float is what the factors cost. The noise of either, a share of the steps' squares, is told in
    parts of the one that the rounding of the activation's result makes anyway.
    """
    own = np.square(after.scale * np.asarray(after.factors or [1.0], np.float64))
    apart = np.square(before.scale * np.asarray(before.factors, np.float64))
    return bool(np.mean(1 + apart.max() / own) > _WORTH * np.mean(1 + apart / own))


def round_for_depthwise(value: ir.Value, grid: Grid, items: Items) -> None:
    """Put a pair with factors on a tensor that one depthwise convolution reads, in place.

    The convolution's weights take the factors over, in `items`.
    """
    reader = only_reader(value)
    factors, whole = np.asarray(grid.factors, np.float64), replace(grid, factors=None)
    source = _given_divided(value, grid, items) or _multiplied(value, 1 / factors)
    quantize_tensor(source, whole, [reader])
    item = items[reader]
    items[reader] = replace(item, scale=(item.scale * factors).astype(np.float32))


def round_for_float(value: ir.Value, grid: Grid, items: Items) -> None:
    """Put a pair with factors on what a convolution gives an activation in float, in place.

    The convolution gives the tensor divided by the factors; its weights are changed in `items`.
    """
    factors = np.asarray(grid.factors, np.float64)
    _scale_weights(value.producer(), factors, items)
    rounded = quantize_tensor(value, replace(grid, factors=None))
    rounded.shape, rounded.type = value.shape, value.type
    _multiplied(rounded, factors)


def _given_divided(value: ir.Value, grid: Grid, items: Items) -> ir.Value | None:
    """Let the convolution that gives a tensor, itself or through a ReLU, give it divided by the factors.

    A clip that the integers do not reach beyond goes: saturation at the ends of the grid does the same.

    Returns:
        The divided tensor; None where something else gives it.
    """
    node = value.producer()
    activation = node if node is not None and node.op_type in ("Relu", "Clip") else None
    conv = node if activation is None else node.inputs[0].producer()
    if conv not in items or conv.op_type != "Conv" or only_reader(conv.outputs[0]) is None:
        return None
    if activation is not None and activation.op_type == "Clip":
        bounds = [constant(bound) for bound in activation.inputs[1:3]]
        top = grid.scale * (_LEVELS - grid.zero_point) * max(grid.factors)
        saturates = len(bounds) == 2 and None not in bounds and bounds[0] == 0 and top <= bounds[1] * _SLACK
        if grid.zero_point != 0 or not saturates:
            return None
        redirect(value, conv.outputs[0])
        value = conv.outputs[0]
    _scale_weights(conv, np.asarray(grid.factors, np.float64), items)
    return value


def _scale_weights(conv: ir.Node, factors: np.ndarray, items: Items) -> None:
    item = items[conv]
    items[conv] = replace(item, scale=(item.scale / factors).astype(np.float32))
    if len(conv.inputs) > 2 and conv.inputs[2] is not None:
        bias = (constant(conv.inputs[2]).astype(np.float64) / factors).astype(np.float32)
        conv.replace_input_with(2, add_constant(conv.graph, f"{conv.inputs[2].name}.divided", bias))


def _multiplied(value: ir.Value, factors: np.ndarray) -> ir.Value:
    """The tensor times a factor per channel, for its only reader."""
    reader = only_reader(value)
    stored = add_constant(reader.graph, f"{value.name}.factors", factors.astype(np.float32).reshape(1, -1, 1, 1))
    rows = _a_row_long(value, stored)
    product = insert_after(value if rows is stored else rows, "Mul", [value, rows], f"{value.name}.by_channel")
    product.shape, product.type = value.shape, value.type
    redirect(value, product, [reader])
    return product


def _a_row_long(value: ir.Value, stored: ir.Value) -> ir.Value:
    """The factors, once for each place in a row of the tensor, if its width is known.

    With the channels last, ONNX Runtime multiplies as many numbers at a time as the factors have, and of few channels
    that takes several times as long. It computes the rows once, when the file is loaded.
    """
    width = None if value.shape is None or len(value.shape) != 4 else value.shape[3]
    if not isinstance(width, int):
        return stored
    shape = np.array([1, stored.shape[1], 1, width], np.int64)
    rows = insert_after(
        value, "Expand", [stored, add_constant(stored.graph, f"{value.name}.row", shape)], f"{value.name}.rows"
    )
    rows.shape, rows.type = ir.Shape(shape.tolist()), stored.type
    return rows


def _is_conv(value: ir.Value) -> bool:
    return computed_by(value) == "Conv"

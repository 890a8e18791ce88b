"""Pairs exactly where training rounded, on the grids that it learned: both layouts of `placement: deploy`.

The tidied float graph holds a mark at each place, which becomes a pair. Nothing is calibrated, and nothing else is
rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx import channels, marks
from ppcls_compress.deploy.onnx.graph import computed_by, constant, insert_before, only_reader, readers, redirect
from ppcls_compress.deploy.onnx.layers import QuantizedNode
from ppcls_compress.deploy.onnx.marks import MARK
from ppcls_compress.deploy.onnx.place_ort import ACTIVATIONS, MOVING, representable
from ppcls_compress.deploy.onnx.qdq import Grid, quantize_bias, quantize_tensor, quantize_weight
from ppcls_compress.deploy.onnx.rules.pooling import pool_by_convolution
from ppcls_compress.slim.quant import InputGrid


def grid_before(node: ir.Node) -> InputGrid | None:
    """The grid of the mark that a node reads, through operators that only move its elements, or None."""
    value = node.inputs[0]
    while computed_by(value) in MOVING:
        value = value.producer().inputs[0]
    return marks.grid(value.producer()) if computed_by(value) == MARK else None


def place_ort(model: ir.Model, nodes: Sequence[QuantizedNode]) -> None:
    """For ONNX Runtime, in place: unsigned integers throughout, biases rounded, moving operators between two pairs."""
    for node in list(model.graph):
        if node.op_type == MARK:
            _mark_before_moving(node)
    for node in list(model.graph):
        if node.op_type in MOVING:
            _mark_after_moving(node)
    items = {item.node: item for item in nodes}
    _round_by_channel(model, items)
    for item in items.values():
        scale, integers = representable(item, item.input.scale)
        quantize_weight(item.node, integers, scale, item.axis)
        if len(item.node.inputs) > 2:
            quantize_bias(item.node, item.input.scale * scale.astype(np.float64))
    _round_marks(model, signed="uint8")
    pool_by_convolution(model)


def place_openvino(model: ir.Model, nodes: Sequence[QuantizedNode]) -> None:
    """For OpenVINO, in place: zero point 0 but at concatenations, biases float; signed where training rounded so."""
    place_pairs(model, nodes)
    for node in list(model.graph):
        if node.op_type == "Add":
            _keep_roundings(node)


def place_pairs(model: ir.Model, nodes: Sequence[QuantizedNode]) -> None:
    """The pairs alone, in place, without what keeps OpenVINO from leaving some of them out."""
    for item in nodes:
        quantize_weight(item.node, item.integers, item.scale, item.axis)
        if item.shared and len(item.node.inputs) > 2:
            _round_bias(item)
    _round_marks(model, signed="int8")


def _round_by_channel(model: ir.Model, items: channels.Items) -> None:
    """Turn marks with factors into pairs that ONNX Runtime's kernels take; they are read by depthwise convolutions."""
    for node in [node for node in model.graph if node.op_type == MARK and marks.grid(node).factors is not None]:
        source, marked = node.inputs[0], node.outputs[0]
        redirect(marked, source)
        model.graph.remove(node, safe=True)
        channels.round_for_depthwise(source, _grid(marks.grid(node), "uint8"), items)


def _round_bias(item: QuantizedNode) -> None:
    """Round a bias in float, as training does for each call by itself."""
    value = item.node.inputs[2]
    bias = constant(value).astype(np.float64)
    inputs = item.input.scale * np.asarray(item.input.factors or [1.0], np.float64)
    step = np.resize(inputs * item.scale.astype(np.float64), bias.shape)
    # A channel of zeros has no grid, and its bias stays.
    rounded = np.where(step > 0, np.rint(bias / np.where(step > 0, step, 1.0)) * step, bias)
    value.const_value = ir.tensor(rounded.astype(np.float32), name=value.name)


def _keep_roundings(addition: ir.Node) -> None:
    """Let a sum read the rounded results of convolutions through a pooling of single values, which moves nothing.

    OpenVINO 2026.4 computes a sum along with the convolution before it, and then leaves out the rounding between them
    if the sum is rounded too, although training saw it. It cannot reach through pooling.
    """
    for position, value in enumerate(addition.inputs):
        if only_reader(value) is not None and _is_rounded_convolution(value):
            kept = insert_before(addition, "MaxPool", [value], f"{value.name}.kept", kernel_shape=[1, 1])
            addition.replace_input_with(position, kept)


def _is_rounded_convolution(value: ir.Value) -> bool:
    for op in ("DequantizeLinear", "QuantizeLinear"):
        if computed_by(value) != op:
            return False
        value = value.producer().inputs[0]
    while computed_by(value) in ACTIVATIONS:
        value = value.producer().inputs[0]
    return computed_by(value) == "Conv"


def _round_marks(model: ir.Model, signed: str) -> None:
    """Replace each mark by a pair; what a concatenation reads or gives is unsigned, as OpenVINO needs."""
    for node in [node for node in model.graph if node.op_type == MARK]:
        source, marked = node.inputs[0], node.outputs[0]
        joined = _is_joined(source) or _is_piece(marked)
        rounded = quantize_tensor(source, _grid(marks.grid(node), "uint8" if joined else signed), [])
        redirect(marked, rounded)
        model.graph.remove(node, safe=True)


def _is_joined(value: ir.Value) -> bool:
    """Whether a tensor is a concatenation, or moved from one."""
    op = computed_by(value)
    return op == "Concat" or (op in MOVING and _is_joined(value.producer().inputs[0]))


def _is_piece(value: ir.Value) -> bool:
    """Whether a concatenation reads a tensor, as it is or moved."""
    return any(
        reader.op_type == "Concat" or (reader.op_type in MOVING and any(map(_is_piece, reader.outputs)))
        for reader in readers(value)
    )


def _grid(grid: InputGrid, signed: str) -> Grid:
    if grid.zero_point is not None:
        return Grid(grid.scale, grid.zero_point, "uint8", grid.factors)
    if grid.unsigned:
        return Grid(grid.scale, 0, "uint8", grid.factors)
    return Grid(grid.scale, 128 if signed == "uint8" else 0, signed, grid.factors)


def _mark_before_moving(node: ir.Node) -> None:
    """Rounding what an operator moves is rounding what it gives; a kernel needs both."""
    value = node.inputs[0]
    while _is_moved_for_one(value):
        mover = value.producer()
        value = mover.inputs[0]
        if value.producer() is None or computed_by(value) == MARK:
            return
        mover.replace_input_with(0, marks.add(value, marks.grid(node)))


def _is_moved_for_one(value: ir.Value) -> bool:
    mover = value.producer()
    return mover is not None and mover.op_type in MOVING and len(mover.outputs) == 1 and only_reader(value) is not None


def _mark_after_moving(mover: ir.Node) -> None:
    source = mover.inputs[0]
    if computed_by(source) != MARK:
        return
    for value in mover.outputs:
        unmarked = [reader for reader in readers(value) if reader.op_type != MARK]
        if not unmarked or value.is_graph_output():
            continue
        marked = marks.add(value, marks.grid(source.producer()))
        redirect(value, marked, unmarked)

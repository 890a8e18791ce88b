"""Explicit quantization for TensorRT: pairs on the inputs of quantized layers, int8 throughout with zero points 0.

A grid with another zero point becomes the symmetric one that holds the same values, which is coarser by up to half:
train with `asymmetric: false, unsigned: false, depthwise_ranges: tensor` for this layout. Where a quantized layer's
result is added to another tensor, both carry a pair, so that TensorRT computes the sum along with the layer. Biases
stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import add_constant, computed_by, constant
from ppcls_compress.deploy.onnx.layers import QuantizedNode
from ppcls_compress.deploy.onnx.marks import MARK
from ppcls_compress.deploy.onnx.place_ort import MOVING
from ppcls_compress.deploy.onnx.qdq import Grid, quantize_tensor, shared
from ppcls_compress.deploy.onnx.weights import WEIGHTED

_LEVELS = 127
PAIR = ("QuantizeLinear", "DequantizeLinear")

Observe = Callable[[Sequence[str], Collection[str]], dict[str, tuple[np.ndarray, np.ndarray]]]


def place(
    model: ir.Model,
    nodes: Sequence[QuantizedNode],
    observe: Observe,
    pairs: Callable[[ir.Model, Sequence[QuantizedNode]], None],
) -> list[str]:
    """Put the pairs into a simplified graph, in place.

    Args:
        model: float weights.
        nodes: the quantized layers in it.
        observe: gives the smallest and the largest value of tensors by name.
        pairs: puts the pairs that training had into the graph, on any grids.

    Returns:
        A line for the user where grids became coarser.
    """
    sums = _sums(model, {item.node for item in nodes})
    added = list(dict.fromkeys(value for node in sums for value in node.inputs if computed_by(value) != MARK))
    ends = observe([value.name for value in added], ())
    limits = {value: max(float(-ends[value.name][0].min()), float(ends[value.name][1].max())) for value in added}
    pairs(model, nodes)
    coarser = sum(_make_symmetric(node) for node in list(model.graph) if node.op_type == "QuantizeLinear")
    for node in sums:
        for value in dict.fromkeys(node.inputs):
            if computed_by(value) != "DequantizeLinear":
                # A tensor that is zero throughout says nothing of its range; any is exact for it.
                quantize_tensor(value, Grid(limits[value] / _LEVELS or 1.0, 0, "int8"), [node])
    for node in [node for node in model.graph if node.op_type in WEIGHTED and _is_rounded(node.inputs[1])]:
        scale = _moved_scale(node.inputs[0])
        if scale is not None:
            quantize_tensor(node.inputs[0], Grid(scale, 0, "int8"), [node])
    told = f"{coarser} tensors are rounded more coarsely than in training, whose zero points were others than 0"
    return [told] if coarser else []


def _moved_scale(value: ir.Value) -> float | None:
    """The scale of what operators made of rounded tensors by moving their elements, the widest; None of other tensors.

    A pair with it rounds to what is there already, and TensorRT looks for it in front of the layer.
    """
    pending, scales = [value], []
    while pending:
        node = pending.pop().producer()
        if node is None or (node.op_type not in (*MOVING, "Concat") and node.op_type != PAIR[1]):
            return None
        if node.op_type == PAIR[1]:
            scales.append(float(constant(node.inputs[1])))
        else:
            pending += node.inputs[: None if node.op_type == "Concat" else 1]
    return None if computed_by(value) == PAIR[1] else max(scales)


def _make_symmetric(node: ir.Node) -> bool:
    """Give a pair the int8 grid with zero point 0 that holds the same values; whether it is another grid."""
    scale, zero = constant(node.inputs[1]).astype(np.float64), constant(node.inputs[2])
    if zero.dtype == np.int8 and not zero.any() and scale.size == 1:
        return False
    integers = np.iinfo(zero.dtype)
    first = int(zero.reshape(-1)[0])
    reach = max(integers.max - first, first - integers.min - (first * 2 == integers.max + integers.min + 1))
    symmetric = np.float32(scale.max() * reach / _LEVELS)
    operands = (
        add_constant(node.graph, f"{node.inputs[1].name}.symmetric", symmetric),
        shared(node.graph, np.zeros((), np.int8)),
    )
    for part in (node, *(reader for reader, _ in node.outputs[0].uses())):
        for place_of, operand in enumerate(operands, start=1):
            part.replace_input_with(place_of, operand)
        part.attributes.pop("axis", None)
    return bool(scale.size > 1 or reach != _LEVELS)


def check(model: ir.Model) -> list[str]:
    """What breaks TensorRT's rules for explicit quantization, a line each; none if all is well.

    The rules of NVIDIA's "Working with Quantized Types" and "Q/DQ Layer-Placement Recommendations": symmetric int8 with
    zero points 0; one scale for an activation, and for a weight one or one for each output channel, above 0; constant
    scales; pairs are whole; biases are not quantized; both inputs of a residual sum are.
    """
    found = []
    for node in model.graph:
        if node.op_type in PAIR:
            found += _of_pair(node)
        if node.op_type in WEIGHTED:
            found += _of_weighted(node)
    quantized = {node for node in model.graph if node.op_type in WEIGHTED and _is_rounded(node.inputs[1])}
    sums = _sums(model, quantized)
    found += [
        f"{node.outputs[0].name}: {value.name}, which is added to a quantized layer's result, is not quantized"
        for node in sums
        for value in node.inputs
        if not _is_rounded(value)
    ]
    return found


def _of_pair(node: ir.Node) -> list[str]:
    name = node.inputs[0].name
    scale = constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if scale is None or (len(node.inputs) > 2 and node.inputs[2] is not None and zero is None):
        return [f"{name}: its scale or zero point is computed, and has to be a constant"]
    found = [f"{name}: its scale is not above 0"] if not (scale > 0).all() else []
    if zero is None and node.op_type == "QuantizeLinear":
        found.append(f"{name}: has no zero point, which means uint8; int8 is needed")
    if zero is not None and (zero.dtype != np.int8 or zero.any()):
        found.append(f"{name}: has zero point {zero.reshape(-1)[0]} of {zero.dtype}; 0 of int8 is needed")
    weight = node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is not None
    if scale.size > 1 and not weight:
        found.append(f"{name}: an activation has {scale.size} scales; one is needed")
    if node.op_type == "QuantizeLinear" and any(reader.op_type != PAIR[1] for reader, _ in node.outputs[0].uses()):
        found.append(f"{name}: is quantized, and read without a dequantization")
    return found


def _of_weighted(node: ir.Node) -> list[str]:
    found, layer = [], node.outputs[0].name
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and _is_rounded(bias):
        found.append(f"{layer}: its bias is quantized")
    if not _is_rounded(node.inputs[1]):
        return found
    if not _is_rounded(node.inputs[0]):
        found.append(f"{layer}: its weight is quantized, what it reads is not")
    pair = node.inputs[1].producer()
    scale, shape = constant(pair.inputs[1]), constant(pair.inputs[0]).shape
    wanted = 0 if node.op_type == "Conv" or node.attributes.get_int("transB", 0) else 1
    axis = pair.attributes.get_int("axis", 1)
    if scale.size > 1 and (axis % len(shape) != wanted or scale.size != shape[wanted]):
        found.append(f"{layer}: its weight has scales along axis {axis}; its output channels lie along {wanted}")
    return found


def _is_rounded(value: ir.Value) -> bool:
    return computed_by(value) == "DequantizeLinear"


def _sums(model: ir.Model, quantized: Collection[ir.Node]) -> list[ir.Node]:
    """The additions of two computed tensors of which one is a quantized layer's result, rounded or not."""
    found = []
    for node in model.graph:
        makers = [_source(value).producer() for value in node.inputs] if node.op_type == "Add" else [None]
        if None not in makers and any(maker in quantized for maker in makers):
            found.append(node)
    return found


def _source(value: ir.Value) -> ir.Value:
    """What a pair or a mark of one rounds; the tensor itself where there is none."""
    while computed_by(value) in (*PAIR, MARK):
        value = value.producer().inputs[0]
    return value

"""The layout that ONNX Runtime runs on integer kernels throughout.

Its kernels exist for unsigned activations, and a layer gets one only if its output is rounded as well. So every tensor
between two of them carries a pair, uint8. What a layer reads keeps its trained range; where several layers read a
tensor, the widest of their ranges holds. What one depthwise convolution reads keeps its range per channel, and what a
convolution gives an activation in float has one too (`channels`); every other tensor has one grid. Ranges that training
does not know (outputs of convolutions, sums, gates) are the smallest and the largest value on calibration images.
Tensors that an operator only moves share one grid. Average pooling becomes a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx import channels
from ppcls_compress.deploy.onnx.graph import computed_by, constant, only_reader
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode
from ppcls_compress.deploy.onnx.place_openvino import clip_to_grid
from ppcls_compress.deploy.onnx.qdq import Grid, quantize_bias, quantize_tensor, quantize_weight
from ppcls_compress.deploy.onnx.rules.affine import slope_and_offset
from ppcls_compress.deploy.onnx.rules.pooling import pool_by_convolution
from ppcls_compress.slim.quant.quantizers.channelwise import shared_grid
from ppcls_compress.slim.quant.quantizers.two_ended import ASYMMETRIC

MOVING = ("MaxPool", "Flatten", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split")
"""Operators whose results are some of their input's elements, so that the input's grid fits."""
_COMBINING = ("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Pad")
ACTIVATIONS = ("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu", "Elu", "Tanh", "Softmax")
_FUSED = ("Relu", "Clip")
_UNIT_RANGE = ("HardSigmoid", "Sigmoid", "Softmax")
_KEEPS_SIGN = (*MOVING, "GlobalAveragePool", "AveragePool", "Concat", "Add", "Mul", "HardSwish", "Pad")

Observe = Callable[[Sequence[str], Collection[str]], dict[str, tuple[np.ndarray, np.ndarray]]]


def place(model: ir.Model, nodes: Sequence[QuantizedNode], observe: Observe) -> list[str]:
    """Put the pairs into a simplified graph, in place.

    Args:
        model: float weights, none of them replaced yet.
        nodes: the quantized layers in it.
        observe: gives the smallest and the largest value of tensors by name, [1]; of each channel, [channels], for the
            names in its second argument.

    Returns:
        A line for each decision that a user should know.
    """
    for item in nodes:
        clip_to_grid(item)
    tensors = _rounded_tensors(model.graph, {item.node for item in nodes})
    grids, notes = _grids(tensors, _groups(model.graph, tensors), nodes, observe)
    items, read = {item.node: item for item in nodes}, {item.node: item.node.inputs[0] for item in nodes}
    for value in tensors:
        if grids[value].factors is None:
            continue
        if channels.reads_alone(value, items):
            channels.round_for_depthwise(value, grids[value], items)
        else:
            channels.round_for_float(value, grids[value], items)
    for item in items.values():
        source = grids[read[item.node]]
        scale, integers = representable(item, source.scale)
        quantize_weight(item.node, integers, scale, item.axis)
        if len(item.node.inputs) > 2:
            quantize_bias(item.node, source.scale * scale.astype(np.float64))
    for value in tensors:
        if grids[value].factors is None:
            quantize_tensor(value, grids[value])
    pool_by_convolution(model)
    return notes


def _rounded_tensors(graph: ir.Graph, quantized: set[ir.Node]) -> list[ir.Value]:
    """The tensors that carry a pair, in order of computation."""
    chosen = {node.inputs[0] for node in graph if node in quantized}
    for node in graph:
        sources = [value for value in node.inputs if value is not None and value.const_value is None]
        rounded = bool(sources) and chosen.issuperset(sources)
        whole = node.op_type in (*MOVING, *ACTIVATIONS) or (
            node.op_type in _COMBINING and (len(sources) == len(node.inputs) or node.op_type == "Pad")
        )
        if node in quantized or (rounded and whole):
            chosen.add(_after_fusion(node).outputs[0])
    chosen.difference_update(graph.outputs)
    # A clip by channel has no integer kernel; what it clips would be rounded twice, the first time for all channels.
    chosen = {value for value in chosen if not (only_reader(value) and only_reader(value).op_type == "Max")}
    order = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    return [value for value in order if value in chosen]


def _after_fusion(node: ir.Node) -> ir.Node:
    """The node itself, or the activation after it that a kernel computes along with it."""
    after = only_reader(node.outputs[0])
    fuses = after is not None and after.op_type in _FUSED and node.op_type not in (*MOVING, *ACTIVATIONS)
    return after if fuses else node


def _groups(graph: ir.Graph, tensors: Sequence[ir.Value]) -> dict[ir.Value, ir.Value]:
    """For each rounded tensor the first of those that share its grid, because operators only move their elements."""
    first = {value: value for value in tensors}
    for node in graph:
        if node.op_type in MOVING and node.inputs[0] in first:
            for value in node.outputs:
                if value in first:
                    first[value] = first[node.inputs[0]]
    return first


def _grids(
    tensors: Sequence[ir.Value],
    groups: dict[ir.Value, ir.Value],
    nodes: Sequence[QuantizedNode],
    observe: Observe,
) -> tuple[dict[ir.Value, Grid], list[str]]:
    readers: dict[ir.Value, list[QuantizedNode]] = {groups[value]: [] for value in tensors}
    for item in nodes:
        readers[groups[item.node.inputs[0]]].append(item)
    alone = {value for value in readers if sum(first is value for first in groups.values()) == 1}
    quantized = {item.node: item for item in nodes}
    unknown = [value for value, items in readers.items() if not items and not _has_unit_range(value)]
    by_channel = [value for value in unknown if value in alone and channels.feeds_float(value, quantized)]
    seen = observe([value.name for value in unknown], [value.name for value in by_channel])
    grids, notes = {}, []
    for value, items in readers.items():
        if items:
            apart = value in alone and channels.reads_alone(value, quantized)
            grids[value] = _own_grid(items[0].input) if apart else _shared_grid(value, items)
            notes += _disagreement(items)
        elif value.name in seen:
            grids[value] = _observed_grid(*_told_apart(value, *seen[value.name]))
        else:
            grids[value] = Grid.unsigned(1.0)
    for value in by_channel:
        after = groups.get(only_reader(value).outputs[0])
        if grids[value].factors is not None and after in grids and not channels.factors_pay(grids[value], grids[after]):
            low, high = _told_apart(value, *seen[value.name])
            grids[value] = Grid.between(low.min(), high.max())
    return {value: grids[groups[value]] for value in tensors}, notes


def _observed_grid(low: np.ndarray, high: np.ndarray) -> Grid:
    """The grid for the ends of a tensor, [1], or of each of its channels."""
    if low.size == 1:
        return Grid.between(low.item(), high.item())
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    zero_point, steps = shared_grid(low, high, 8, ASYMMETRIC)
    return Grid(float(steps.max()), zero_point, "uint8", tuple((steps / steps.max()).tolist()))


def _own_grid(inputs: InputRange) -> Grid:
    """What a layer reads, as training rounded it, on unsigned integers."""
    middle = 0 if inputs.unsigned else 128
    return Grid(inputs.scale, middle if inputs.zero_point is None else inputs.zero_point, "uint8", inputs.factors)


def _has_unit_range(value: ir.Value) -> bool:
    op = computed_by(value)
    if op != "Clip":
        return op in _UNIT_RANGE
    bounds = [constant(bound) for bound in value.producer().inputs[1:3]]
    return len(bounds) == 2 and all(bound is not None for bound in bounds) and bounds == [0, 1]


def _told_apart(value: ir.Value, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a range that the tensor's reader tells apart; beyond it, a hard-swish or hard sigmoid is constant."""
    reader = only_reader(value)
    if reader is None or reader.op_type not in ("HardSwish", "HardSigmoid"):
        return low, high
    if reader.op_type == "HardSwish":
        return np.maximum(low, -3.0), high
    slope, offset = slope_and_offset(reader)
    return np.maximum(low, -offset / slope), np.minimum(high, (1 - offset) / slope)


def _shared_grid(value: ir.Value, items: Iterable[QuantizedNode]) -> Grid:
    widest = max(items, key=lambda item: item.input.limit).input
    if any(item.input.zero_point is not None for item in items):
        if all(item.input == widest for item in items):
            return replace(_own_grid(widest), factors=None)
        return Grid.between(min(item.input.lowest for item in items), widest.limit)
    unsigned = non_negative(value) or all(item.input.unsigned for item in items)
    if widest.bits < 8:
        return Grid(widest.scale, 0 if unsigned else 128, "uint8")
    return (Grid.unsigned if unsigned else Grid.shifted)(widest.limit)


def _disagreement(items: Sequence[QuantizedNode]) -> list[str]:
    widest = max(items, key=lambda item: item.input.limit)
    return [
        f"{item.name}: reads a tensor with {widest.name}; its range {item.input.limit:.4g} gives way to "
        f"{widest.input.limit:.4g}"
        for item in items
        if item.input.limit < widest.input.limit * (1 - 1e-6)
    ]


def non_negative(value: ir.Value) -> bool:
    """Whether a tensor cannot be negative, from the operators that compute it."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        node = current.producer()
        if node is None:
            array = constant(current)
            if array is None or (array < 0).any():
                return False
        elif node.op_type == "Clip":
            low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
            if low is None or low < 0:
                return False
        elif node.op_type in ("Relu", *_UNIT_RANGE):
            continue
        elif node.op_type in _KEEPS_SIGN:
            positions = len(node.inputs) if node.op_type in ("Concat", "Add", "Mul") else 1
            pending += node.inputs[:positions]
        else:
            return False
    return True


def representable(item: QuantizedNode, input_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale and integers of the weight such that every bias fits into 32 bits.

    A channel whose weights are tiny beside its bias gets a coarser scale: the bias then drowns what rounding changes.
    """
    channels = item.integers.shape[item.axis]
    scale = np.broadcast_to(item.scale, (channels,)).astype(np.float64)
    bias = np.zeros(channels)
    if len(item.node.inputs) > 2:
        bias = constant(item.node.inputs[2]).astype(np.float64)
    needed = np.maximum(scale, np.abs(bias) / (input_scale * 2.0**30))
    needed = np.where(needed > 0, needed, 1.0)
    shape = [1] * item.integers.ndim
    shape[item.axis] = channels
    integers = np.rint(item.integers * (scale / needed).reshape(shape))
    return needed.astype(np.float32), integers.astype(np.int8)

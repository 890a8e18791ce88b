"""The layout that ONNX Runtime runs on integer kernels throughout.

Its kernels exist for unsigned activations, and a layer gets one only if its output is rounded as well. So every tensor
between two of them carries a pair: one grid per tensor, uint8. What a layer reads keeps its trained range, zero point 0
for what is never negative and 128 for the rest; where several layers read a tensor, the widest of their ranges holds.
Ranges that training does not know (outputs of convolutions, sums, gates) are the smallest and the largest value on
calibration images. Tensors that an operator only moves share one grid. Average pooling becomes a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ppcls_compress.deploy.onnx import pooling
from ppcls_compress.deploy.onnx.graph import Graph, Node
from ppcls_compress.deploy.onnx.layers import QuantizedNode
from ppcls_compress.deploy.onnx.qdq import Grid, clip, quantize_bias, quantize_tensor, quantize_weight
from ppcls_compress.deploy.onnx.simplify import slope_and_offset

MOVING = ("MaxPool", "Flatten", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split")
"""Operators whose results are some of their input's elements, so that the input's grid fits."""
_COMBINING = ("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Pad")
ACTIVATIONS = ("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu", "Elu", "Tanh", "Softmax")
_FUSED = ("Relu", "Clip")
_UNIT_RANGE = ("HardSigmoid", "Sigmoid", "Softmax")
_KEEPS_SIGN = (*MOVING, "GlobalAveragePool", "AveragePool", "Concat", "Add", "Mul", "HardSwish", "Pad")

Observe = Callable[[Sequence[str]], dict[str, tuple[float, float]]]


def place(graph: Graph, nodes: Sequence[QuantizedNode], observe: Observe) -> list[str]:
    """Put the pairs into a simplified graph, in place.

    Args:
        graph: float weights, none of them replaced yet.
        nodes: the quantized layers in it.
        observe: gives the smallest and the largest value of tensors by name.

    Returns:
        A line for each decision that a user should know.
    """
    for item in nodes:
        if item.input.bounds is not None:
            clip(graph, item.node, *item.input.bounds)
    tensors = _rounded_tensors(graph, {id(item.node) for item in nodes})
    groups = _groups(graph, tensors)
    grids, notes = _grids(graph, tensors, groups, nodes, observe)
    for item in nodes:
        source = grids[item.node.inputs[0]]
        scale, integers = representable(graph, item, source.scale)
        quantize_weight(graph, item.node, integers, scale, item.axis)
        if len(item.node.inputs) > 2:
            quantize_bias(graph, item.node, source.scale * scale.astype(np.float64))
    for name in tensors:
        quantize_tensor(graph, name, grids[name])
    pooling.convolve(graph)
    return notes


def _rounded_tensors(graph: Graph, quantized: set[int]) -> list[str]:
    """The tensors that carry a pair, in order of computation."""
    chosen = {node.inputs[0] for node in graph.nodes if id(node) in quantized}
    for node in graph.nodes:
        sources = [name for name in node.inputs if name and name not in graph.constants]
        rounded = bool(sources) and all(name in chosen for name in sources)
        computed = id(node) in quantized
        whole = node.op in (*MOVING, *ACTIVATIONS) or (
            node.op in _COMBINING and (len(sources) == len(node.inputs) or node.op == "Pad")
        )
        if computed or (rounded and whole):
            chosen.add(_after_fusion(graph, node).output)
    chosen.discard(graph.output.name)
    order = [graph.input.name, *(name for node in graph.nodes for name in node.outputs)]
    return [name for name in order if name in chosen]


def _after_fusion(graph: Graph, node: Node) -> Node:
    """The node itself, or the activation after it that a kernel computes along with it."""
    after = graph.only_reader(node.output)
    fuses = after is not None and after.op in _FUSED and node.op not in (*MOVING, *ACTIVATIONS)
    return after if fuses else node


def _groups(graph: Graph, tensors: Sequence[str]) -> dict[str, str]:
    """For each rounded tensor the first of those that share its grid, because operators only move their elements."""
    first = {name: name for name in tensors}
    for node in graph.nodes:
        if node.op in MOVING and node.inputs[0] in first:
            for name in node.outputs:
                if name in first:
                    first[name] = first[node.inputs[0]]
    return first


def _grids(
    graph: Graph,
    tensors: Sequence[str],
    groups: dict[str, str],
    nodes: Sequence[QuantizedNode],
    observe: Observe,
) -> tuple[dict[str, Grid], list[str]]:
    readers: dict[str, list[QuantizedNode]] = {groups[name]: [] for name in tensors}
    for item in nodes:
        readers[groups[item.node.inputs[0]]].append(item)
    unknown = [name for name, items in readers.items() if not items and not _has_unit_range(graph, name)]
    seen = observe(unknown)
    grids, notes = {}, []
    for name, items in readers.items():
        if items:
            grids[name] = _shared_grid(graph, name, items)
            notes += _disagreement(items)
        elif name in seen:
            grids[name] = Grid.between(*_told_apart(graph, name, *seen[name]))
        else:
            grids[name] = Grid.unsigned(1.0)
    return {name: grids[groups[name]] for name in tensors}, notes


def _has_unit_range(graph: Graph, name: str) -> bool:
    producer = graph.producer(name)
    if producer is None or producer.op != "Clip":
        return producer is not None and producer.op in _UNIT_RANGE
    bounds = [graph.constant(bound) for bound in producer.inputs[1:3]]
    return len(bounds) == 2 and all(bound is not None for bound in bounds) and bounds == [0, 1]


def _told_apart(graph: Graph, name: str, low: float, high: float) -> tuple[float, float]:
    """The part of a range that the tensor's reader tells apart; beyond it, a hard-swish or hard sigmoid is constant."""
    reader = graph.only_reader(name)
    if reader is None or reader.op not in ("HardSwish", "HardSigmoid"):
        return low, high
    if reader.op == "HardSwish":
        return max(low, -3.0), high
    slope, offset = slope_and_offset(reader)
    return max(low, -offset / slope), min(high, (1 - offset) / slope)


def _shared_grid(graph: Graph, name: str, items: Iterable[QuantizedNode]) -> Grid:
    widest = max(items, key=lambda item: item.input.limit).input
    unsigned = non_negative(graph, name) or all(item.input.unsigned for item in items)
    if widest.bits < 8:
        scale = widest.limit / widest.levels
        return Grid(scale, 0 if unsigned else 128, "uint8")
    return (Grid.unsigned if unsigned else Grid.shifted)(widest.limit)


def _disagreement(items: Sequence[QuantizedNode]) -> list[str]:
    widest = max(items, key=lambda item: item.input.limit)
    return [
        f"{item.name}: reads a tensor with {widest.name}; its range {item.input.limit:.4g} gives way to "
        f"{widest.input.limit:.4g}"
        for item in items
        if item.input.limit < widest.input.limit * (1 - 1e-6)
    ]


def non_negative(graph: Graph, name: str) -> bool:
    """Whether a tensor cannot be negative, from the operators that compute it."""
    pending, seen = [name], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        node = graph.producer(current)
        if node is None:
            value = graph.constant(current)
            if value is None or (value < 0).any():
                return False
        elif node.op == "Clip":
            low = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
            if low is None or low < 0:
                return False
        elif node.op in ("Relu", *_UNIT_RANGE):
            continue
        elif node.op in _KEEPS_SIGN:
            positions = len(node.inputs) if node.op in ("Concat", "Add", "Mul") else 1
            pending += node.inputs[:positions]
        else:
            return False
    return True


def representable(graph: Graph, item: QuantizedNode, input_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale and integers of the weight such that every bias fits into 32 bits.

    A channel whose weights are tiny beside its bias gets a coarser scale: the bias then drowns what rounding changes.
    """
    channels = item.integers.shape[item.axis]
    scale = np.broadcast_to(item.scale, (channels,)).astype(np.float64)
    bias = np.zeros(channels)
    if len(item.node.inputs) > 2:
        bias = graph.constants[item.node.inputs[2]].astype(np.float64)
    needed = np.maximum(scale, np.abs(bias) / (input_scale * 2.0**30))
    needed = np.where(needed > 0, needed, 1.0)
    shape = [1] * item.integers.ndim
    shape[item.axis] = channels
    integers = np.rint(item.integers * (scale / needed).reshape(shape))
    return needed.astype(np.float32), integers.astype(np.int8)

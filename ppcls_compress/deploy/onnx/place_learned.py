"""Pairs exactly where training rounded, on the grids that it learned: both layouts of `placement: deploy`.

The float graph comes with a mark at each place, an operator `Mark` with the grid as its attribute; tidying leaves marks
alone, and each then becomes a pair. Nothing is calibrated and nothing else is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ppcls_compress.deploy.onnx import pooling
from ppcls_compress.deploy.onnx.graph import Graph, Node
from ppcls_compress.deploy.onnx.layers import QuantizedNode
from ppcls_compress.deploy.onnx.place_ort import ACTIVATIONS, MOVING, representable
from ppcls_compress.deploy.onnx.qdq import Grid, quantize_bias, quantize_tensor, quantize_weight
from ppcls_compress.slim.quant import InputGrid

MARK = "Mark"


def mark(graph: Graph, grids: Mapping[str, InputGrid]) -> None:
    """Turn the multiplications by the parameters of marks into marks, in place.

    Args:
        graph: as the exporter wrote it.
        grids: of the places, by the name of the mark's parameter.
    """
    for name, grid in grids.items():
        for node in list(graph.readers(name)):
            source = next(item for item in node.inputs if item != name)
            node.op, node.attributes = MARK, {"grid": grid}
            graph.set_input(node, 0, source)
            del node.inputs[1:]


def grid_before(graph: Graph) -> Callable[[Node], InputGrid | None]:
    """What gives the grid of the mark that a node reads, through operators that only move its elements, or None."""

    def find(node: Node) -> InputGrid | None:
        source = graph.producer(node.inputs[0])
        while source is not None and source.op in MOVING:
            source = graph.producer(source.inputs[0])
        return source.attributes["grid"] if source is not None and source.op == MARK else None

    return find


def place_ort(graph: Graph, nodes: Sequence[QuantizedNode]) -> None:
    """For ONNX Runtime, in place: unsigned integers throughout, biases rounded, moving operators between two pairs."""
    for node in list(graph.nodes):
        if node.op == MARK:
            _mark_before_moving(graph, node)
    for node in list(graph.nodes):
        if node.op in MOVING:
            _mark_after_moving(graph, node)
    for item in nodes:
        scale, integers = representable(graph, item, item.input.limit / item.input.levels)
        quantize_weight(graph, item.node, integers, scale, item.axis)
        if len(item.node.inputs) > 2:
            quantize_bias(graph, item.node, item.input.limit / item.input.levels * scale.astype(np.float64))
    _round_marks(graph, signed="uint8")
    pooling.convolve(graph)


def place_openvino(graph: Graph, nodes: Sequence[QuantizedNode]) -> None:
    """For OpenVINO, in place: zero point 0 but at concatenations, biases float; signed where training rounded so."""
    for item in nodes:
        quantize_weight(graph, item.node, item.integers, item.scale, item.axis)
        if item.shared and len(item.node.inputs) > 2:
            _round_bias(graph, item)
    _round_marks(graph, signed="int8")
    for node in list(graph.nodes):
        if node.op == "Add":
            _keep_roundings(graph, node)


def _round_bias(graph: Graph, item: QuantizedNode) -> None:
    """Round a bias in float, as training does for each call by itself."""
    name = item.node.inputs[2]
    bias = graph.constants[name].astype(np.float64)
    step = np.resize(item.input.limit / item.input.levels * item.scale.astype(np.float64), bias.shape)
    # A channel of zeros has no grid, and its bias stays.
    rounded = np.where(step > 0, np.rint(bias / np.where(step > 0, step, 1.0)) * step, bias)
    graph.constants[name] = rounded.astype(np.float32)


def _keep_roundings(graph: Graph, addition: Node) -> None:
    """Let a sum read the rounded results of convolutions through a pooling of single values, which moves nothing.

    OpenVINO 2026.4 computes a sum along with the convolution before it, and then leaves out the rounding between them
    if the sum is rounded too, although training saw it. It cannot reach through pooling.
    """
    for position, name in enumerate(addition.inputs):
        if graph.only_reader(name) is not None and _is_rounded_convolution(graph, name):
            kept = graph.insert("MaxPool", [name], f"{name}.kept", before=addition, kernel_shape=[1, 1])
            graph.set_input(addition, position, kept)


def _is_rounded_convolution(graph: Graph, name: str) -> bool:
    for op in ("DequantizeLinear", "QuantizeLinear"):
        node = graph.producer(name)
        if node is None or node.op != op:
            return False
        name = node.inputs[0]
    source = graph.producer(name)
    while source is not None and source.op in ACTIVATIONS:
        source = graph.producer(source.inputs[0])
    return source is not None and source.op == "Conv"


def _round_marks(graph: Graph, signed: str) -> None:
    """Replace each mark by a pair; what a concatenation reads or gives is unsigned, as OpenVINO needs."""
    for node in [node for node in graph.nodes if node.op == MARK]:
        joined = _is_joined(graph, node.inputs[0]) or _is_piece(graph, node.output)
        grid = _grid(node.attributes["grid"], "uint8" if joined else signed)
        rounded = quantize_tensor(graph, node.inputs[0], grid, [node])
        graph.rewire(node.output, rounded)
        graph.remove(node)


def _is_joined(graph: Graph, name: str) -> bool:
    """Whether a tensor is a concatenation, or moved from one."""
    source = graph.producer(name)
    if source is None:
        return False
    return source.op == "Concat" or (source.op in MOVING and _is_joined(graph, source.inputs[0]))


def _is_piece(graph: Graph, name: str) -> bool:
    """Whether a concatenation reads a tensor, as it is or moved."""
    return any(
        reader.op == "Concat" or (reader.op in MOVING and any(_is_piece(graph, output) for output in reader.outputs))
        for reader in graph.readers(name)
    )


def _grid(grid: InputGrid, signed: str) -> Grid:
    if grid.unsigned:
        return Grid(grid.scale, 0, "uint8")
    return Grid(grid.scale, 128 if signed == "uint8" else 0, signed)


def _mark_before_moving(graph: Graph, node: Node) -> None:
    """Rounding what an operator moves is rounding what it gives; a kernel needs both."""
    mover = graph.producer(node.inputs[0])
    while mover is not None and _moves_for_one(graph, mover):
        source = graph.producer(mover.inputs[0])
        if source is None or source.op == MARK:
            return
        marked = graph.insert(MARK, [mover.inputs[0]], f"{mover.inputs[0]}.mark", before=mover, **node.attributes)
        graph.set_input(mover, 0, marked)
        mover = source


def _moves_for_one(graph: Graph, node: Node) -> bool:
    return node.op in MOVING and len(node.outputs) == 1 and graph.only_reader(node.output) is not None


def _mark_after_moving(graph: Graph, mover: Node) -> None:
    source = graph.producer(mover.inputs[0])
    if source is None or source.op != MARK:
        return
    for name in mover.outputs:
        readers = [reader for reader in graph.readers(name) if reader.op != MARK]
        if not readers or name == graph.output.name:
            continue
        marked = graph.insert(MARK, [name], f"{name}.mark", before=graph.after(name), **source.attributes)
        for reader in readers:
            for position, item in enumerate(reader.inputs):
                if item == name:
                    graph.set_input(reader, position, marked)

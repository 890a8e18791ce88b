"""Quantize / dequantize pairs in a graph: on tensors, on weights, on biases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ppcls_compress.deploy.onnx.graph import Graph, Node

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Grid:
    """The integers of a tensor: value = (integer - zero_point) * scale.

    Attributes:
        scale: above 0.
        zero_point: the integer of 0.
        dtype: "uint8" or "int8".
    """

    scale: float
    zero_point: int
    dtype: str

    @classmethod
    def unsigned(cls, limit: float, levels: int = 255) -> Grid:
        """For 0 .. limit."""
        return cls(limit / levels, 0, "uint8")

    @classmethod
    def shifted(cls, limit: float, levels: int = 127) -> Grid:
        """For -limit .. limit on unsigned integers."""
        return cls(limit / levels, 128, "uint8")

    @classmethod
    def between(cls, low: float, high: float) -> Grid:
        """For low .. high, widened to hold 0, on unsigned integers."""
        low, high = min(low, 0.0), max(high, 0.0)
        # A tensor that is zero throughout says nothing of its range; any is exact for it.
        scale = (high - low) / 255 or 1.0
        return cls(scale, round(-low / scale), "uint8")


def quantize_tensor(graph: Graph, name: str, grid: Grid, readers: Iterable[Node] | None = None) -> str:
    """Put a pair on a tensor; all its readers, or the given ones, read the rounded values.

    Returns:
        The name of the rounded tensor.
    """
    chosen = list(graph.readers(name) if readers is None else readers)
    after = graph.after(name)
    scale = graph.add_constant(f"{name}.scale", np.float32(grid.scale))
    zero = _shared(graph, np.array(grid.zero_point, grid.dtype))
    quantized = graph.insert("QuantizeLinear", [name, scale, zero], f"{name}.quantized", before=after)
    rounded = graph.insert("DequantizeLinear", [quantized, scale, zero], f"{name}.rounded", before=after)
    for node in chosen:
        for position, source in enumerate(node.inputs):
            if source == name:
                graph.set_input(node, position, rounded)
    return rounded


def clip(graph: Graph, node: Node, low: float, high: float) -> None:
    """Let a node read its first input clipped to low .. high."""
    source = node.inputs[0]
    bounds = [
        graph.add_constant(f"{source}.{name}", np.float32(value)) for name, value in (("low", low), ("high", high))
    ]
    graph.set_input(node, 0, graph.insert("Clip", [source, *bounds], f"{source}.clipped", before=node))


def quantize_weight(graph: Graph, node: Node, integers: np.ndarray, scale: np.ndarray, axis: int) -> None:
    """Replace a node's weight by integers and their scales, with a dequantization between.

    Args:
        graph: changed in place.
        node: its second input is the weight.
        integers: int8, in the weight's shape.
        scale: float32, one per channel along `axis`, or a single one.
        axis: the channels' axis.
    """
    stem = node.inputs[1]
    del graph.constants[stem]
    # A channel of zeros is zero on any scale, and runtimes divide by it.
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    per_channel = scale.size > 1
    names = [
        graph.add_constant(f"{stem}.int8", integers.astype(np.int8)),
        graph.add_constant(f"{stem}.scale", scale if per_channel else scale.reshape(())),
        _shared(graph, np.zeros(scale.size if per_channel else (), np.int8)),
    ]
    attributes = {"axis": axis} if per_channel else {}
    graph.set_input(node, 1, graph.insert("DequantizeLinear", names, f"{stem}.rounded", before=node, **attributes))


def quantize_bias(graph: Graph, node: Node, scale: np.ndarray) -> None:
    """Store a node's bias as int32 on the grid that its integer kernel accumulates on.

    Args:
        graph: changed in place.
        node: its third input is the bias.
        scale: scale of the input times scales of the weight, one per channel.
    """
    stem = node.inputs[2]
    bias = graph.constants.pop(stem).astype(np.float64)
    # A channel whose bias does not fit would need a weight of zeros; the nearest value is what the kernel can hold.
    scale = np.resize(scale, bias.shape)  # of a transposed convolution with groups one for each channel of a group
    integers = np.rint(bias / scale).clip(_INT32.min, _INT32.max).astype(np.int32)
    scale = scale.astype(np.float32)
    names = [
        graph.add_constant(f"{stem}.int32", integers),
        graph.add_constant(f"{stem}.scale", scale),
        _shared(graph, np.zeros(bias.shape, np.int32)),
    ]
    graph.set_input(node, 2, graph.insert("DequantizeLinear", names, f"{stem}.rounded", before=node, axis=0))


def _shared(graph: Graph, zero_point: np.ndarray) -> str:
    """A constant for a zero point, the same for all that are alike."""
    value = zero_point.reshape(-1)[0]
    name = "_".join(["zero", str(zero_point.dtype), str(value), *map(str, zero_point.shape)])
    if name not in graph.constants:
        graph.add_constant(name, zero_point)
    return name

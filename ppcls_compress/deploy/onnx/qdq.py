"""Quantize / dequantize pairs in a graph: on tensors, on weights, on biases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import add_constant, constant, insert_after, insert_before, readers, redirect

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Grid:
    """The integers of a tensor: value = (integer - zero_point) * scale.

    Attributes:
        scale: above 0.
        zero_point: the integer of 0.
        dtype: "uint8" or "int8".
        factors: what the scale is multiplied by for each channel, which lie along axis 1; None for one scale.
    """

    scale: float
    zero_point: int
    dtype: str
    factors: tuple[float, ...] | None = None

    @property
    def scales(self) -> np.ndarray:
        """The scale as a constant of a graph, float32, [] or [channels]."""
        factors = 1.0 if self.factors is None else np.asarray(self.factors, np.float64)
        return np.asarray(self.scale * factors, np.float32)

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


def quantize_tensor(value: ir.Value, grid: Grid, nodes: Iterable[ir.Node] | None = None) -> ir.Value:
    """Put a pair on a tensor; all its readers, or the given nodes, read the rounded values.

    Args:
        value: the tensor.
        grid: of the integers.
        nodes: those that are to read them; None for all readers.

    Returns:
        The rounded tensor.
    """
    graph = value.graph
    chosen = list(readers(value) if nodes is None else nodes)
    operands = _operands(graph, f"{value.name}.scale", grid)
    quantized = insert_after(value, "QuantizeLinear", [value, *operands], f"{value.name}.quantized", **_axis(grid))
    rounded = insert_after(
        quantized, "DequantizeLinear", [quantized, *operands], f"{value.name}.rounded", **_axis(grid)
    )
    redirect(value, rounded, chosen)
    return rounded


def _operands(graph: ir.Graph, stem: str, grid: Grid) -> list[ir.Value]:
    scales = grid.scales
    zero_points = np.full(scales.shape, grid.zero_point, grid.dtype)
    return [add_constant(graph, stem, scales), shared(graph, zero_points)]


def _axis(grid: Grid) -> dict[str, int]:
    return {} if grid.factors is None else {"axis": 1}


def clip_by_channel(node: ir.Node, low: np.ndarray, high: np.ndarray) -> None:
    """Let a node read its first input clipped to low .. high, float32 [channels] each."""
    for op, bound in (("Max", low), ("Min", high)):
        source = node.inputs[0]
        constant_bound = add_constant(node.graph, f"{source.name}.{op}", bound.astype(np.float32).reshape(1, -1, 1, 1))
        node.replace_input_with(0, insert_before(node, op, [source, constant_bound], f"{source.name}.clipped"))


def clip(node: ir.Node, low: float, high: float) -> None:
    """Let a node read its first input clipped to low .. high."""
    source = node.inputs[0]
    bounds = [
        add_constant(node.graph, f"{source.name}.{name}", np.float32(value))
        for name, value in (("low", low), ("high", high))
    ]
    node.replace_input_with(0, insert_before(node, "Clip", [source, *bounds], f"{source.name}.clipped"))


def quantize_weight(node: ir.Node, integers: np.ndarray, scale: np.ndarray, axis: int) -> None:
    """Let a node read integers and their scales in place of its weight, with a dequantization between.

    Args:
        node: its second input is the weight.
        integers: int8, in the weight's shape.
        scale: float32, one per channel along `axis`, or a single one.
        axis: the channels' axis.
    """
    stem = node.inputs[1].name
    # A channel of zeros is zero on any scale, and runtimes divide by it.
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    per_channel = scale.size > 1
    constants = [
        add_constant(node.graph, f"{stem}.int8", integers.astype(np.int8)),
        add_constant(node.graph, f"{stem}.scale", scale if per_channel else scale.reshape(())),
        shared(node.graph, np.zeros(scale.size if per_channel else (), np.int8)),
    ]
    attributes = {"axis": axis} if per_channel else {}
    node.replace_input_with(1, insert_before(node, "DequantizeLinear", constants, f"{stem}.rounded", **attributes))


def quantize_bias(node: ir.Node, scale: np.ndarray) -> None:
    """Let a node read its bias as int32 on the grid that its integer kernel accumulates on.

    Args:
        node: its third input is the bias.
        scale: scale of the input times scales of the weight, one per channel.
    """
    stem, bias = node.inputs[2].name, constant(node.inputs[2]).astype(np.float64)
    # A channel whose bias does not fit would need a weight of zeros; the nearest value is what the kernel can hold.
    scale = np.resize(scale, bias.shape)  # of a transposed convolution with groups one for each channel of a group
    integers = np.rint(bias / scale).clip(_INT32.min, _INT32.max).astype(np.int32)
    constants = [
        add_constant(node.graph, f"{stem}.int32", integers),
        add_constant(node.graph, f"{stem}.scale", scale.astype(np.float32)),
        shared(node.graph, np.zeros(bias.shape, np.int32)),
    ]
    node.replace_input_with(2, insert_before(node, "DequantizeLinear", constants, f"{stem}.rounded", axis=0))


def shared(graph: ir.Graph, zero_point: np.ndarray) -> ir.Value:
    """A constant for a zero point, the same for all that are alike."""
    value = zero_point.reshape(-1)[0]
    name = "_".join(["zero", str(zero_point.dtype), str(value), *map(str, zero_point.shape)])
    return graph.initializers[name] if name in graph.initializers else add_constant(graph, name, zero_point)

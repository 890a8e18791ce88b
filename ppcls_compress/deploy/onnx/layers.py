"""Which nodes of a graph are the quantized layers of the model, and on which grids they compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.notes import binding, some
from ppcls_compress.deploy.onnx.graph import copied
from ppcls_compress.deploy.onnx.weights import FOLDING, WEIGHTED, Folded, output_channel_axis
from ppcls_compress.errors import UserError
from ppcls_compress.slim.quant import quant_layers
from ppcls_compress.slim.quant.inference import LayerGrid
from ppcls_compress.slim.quant.input_grid import InputGrid

_STORED_BITS = 8


@dataclass(frozen=True)
class InputRange:
    """What a layer's input is rounded to.

    Attributes:
        limit: the largest value of the grid.
        bits: 2 to 8.
        unsigned: whether the grid starts at 0.
        clip: a narrower range that the input is clipped to before it is rounded, or None.
        zero_point: on which of the integers 0 .. 2^bits - 1 zero lies, if neither on the lowest nor in the middle.
        factors: what the grid is multiplied by for each channel, the largest 1; None for one grid.
        full_range: whether a symmetric grid has the lowest integer too, -8 of 4 bits.
    """

    limit: float
    bits: int
    unsigned: bool
    clip: float | None
    zero_point: int | None = None
    factors: tuple[float, ...] | None = None
    full_range: bool = False

    @property
    def levels(self) -> int:
        """The integer that stands for the limit, counted from that of zero."""
        if self.zero_point is not None:
            return 2**self.bits - 1 - self.zero_point
        return 2**self.bits - 1 if self.unsigned else 2 ** (self.bits - 1) - 1

    @property
    def scale(self) -> float:
        """What an integer is multiplied by, in the widest channel."""
        return self.limit / self.levels

    @property
    def lowest(self) -> float:
        """The smallest value of the grid, in the widest channel; a symmetric one ends where it begins."""
        if self.zero_point is not None:
            return -self.zero_point * self.scale
        return 0.0 if self.unsigned else -self.limit

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What to clip to in float, where saturating integers alone would not; None where they do."""
        if self.bits == _STORED_BITS and self.clip is None:
            return None
        if self.clip is None:
            below = self.full_range and not self.unsigned and self.zero_point is None
            return self.lowest - below * self.scale, self.limit
        return (0.0 if self.unsigned else -self.clip), self.clip


@dataclass(frozen=True, eq=False)
class QuantizedNode:
    """A node that computes with integers.

    Attributes:
        name: of the layer in the model.
        node: `Conv`, `ConvTranspose`, `Gemm` or `MatMul`.
        input: the grid of its first input.
        integers: int8, in the shape of the node's weight.
        scale: of the integers, float32, one per output channel or [1]; 0 for a channel of zeros.
        axis: the output channels' axis.
        shared: whether the layer is called more than once, with a grid for each call.
    """

    name: str
    node: ir.Node
    input: InputRange
    integers: np.ndarray
    scale: np.ndarray
    axis: int
    shared: bool = False


@dataclass(frozen=True)
class Matched:
    """The quantized nodes of a graph, and a line about each layer that stays float."""

    nodes: list[QuantizedNode]
    notes: list[str]


def parameter_names(model: paddle.nn.Layer) -> dict[str, str]:
    """Layer name by its weight's parameter name, for the quantized layers of a model."""
    return {layer.weight.name: name for name, layer in quant_layers(model).items()}


def match(
    model: ir.Model,
    folded: Mapping[str, Folded],
    names: Mapping[str, str],
    grids: Mapping[str, LayerGrid],
    observed: Mapping[str, float],
    marked: Callable[[ir.Node], InputGrid | None] = lambda node: None,
) -> Matched:
    """Find the quantized layers in a simplified graph.

    A layer of more than 8 bits keeps its rounded weight as float in the graph.

    Args:
        model: simplified; the weights of layers that stay float are changed in place.
        folded: what `simplify` returned.
        names: layer name by parameter name, for the layers that the graph holds.
        grids: of the quantized layers.
        observed: largest magnitude of the input, for the layers whose grid has no range of its own.
        marked: gives the grid of what a node reads, where the graph tells it.

    Raises:
        UserError: a layer computes in a way of the user's own, or is no node of the graph.
    """
    found, notes, seen, wide = [], [], set(), defaultdict(list)
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in WEIGHTED else None
        origin = folded.get(weight.name) if weight is not None else None
        name = names.get(origin.parameter) if origin else None
        if name is None:
            continue
        seen.add(name)
        grid = grids[name]
        if grid.input is None or grid.weight is None:
            raise UserError(
                f"{name}: is quantized by a class of your own, which has no ONNX form; leave it out by skip"
            )
        integers, scale = _folded_weight(grid, origin.factor, node)
        if max(grid.input.bits, grid.weight.bits) > _STORED_BITS:
            weight.const_value = ir.tensor(_dequantized(integers, scale, output_channel_axis(node)), name=weight.name)
            bits = f"{grid.weight.bits}-bit weights and {grid.input.bits}-bit activations"
            wide[bits].append(name)
            continue
        own = marked(node) or grid.input
        limit = observed[name] if own.limit is None else own.limit
        inputs = InputRange(limit, own.bits, own.unsigned, own.clip, own.zero_point, own.factors, own.full_range)
        if inputs.clip is not None:
            notes.append(binding(name, inputs.clip, limit))
        axis, shared = output_channel_axis(node), len(grid.calls) > 1
        found.append(QuantizedNode(name, node, inputs, integers, scale, axis, shared))
    for bits, layers in wide.items():
        notes.append(f"{some(layers)}: {bits} have no integer kernel; float here, inputs not rounded")
    missing = [name for name in names.values() if name not in seen]
    if missing:
        raise UserError(
            f"{', '.join(missing[:5])}: quantized in the model, but not a node of its own in the ONNX graph"
        )
    return Matched(found, notes)


def _folded_weight(grid: LayerGrid, factor: np.ndarray, node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scale of weight * factor: a negative factor turns the signs of its channel's integers."""
    weight = grid.weight
    if node.op_type not in FOLDING:
        return weight.integers, weight.scale
    scaled = weight.scaled(factor)
    return scaled.integers, scaled.scale


def _dequantized(integers: np.ndarray, scale: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * integers.ndim
    shape[axis] = scale.size
    return (integers * scale.reshape(shape)).astype(np.float32)


def counterpart(model: ir.Model, nodes: Sequence[QuantizedNode]) -> tuple[ir.Model, list[QuantizedNode]]:
    """A copy of the graph, which shares the arrays, and the quantized nodes as they are in it."""
    other = copied(model)
    twins = dict(zip(model.graph, other.graph, strict=True))
    return other, [replace(item, node=twins[item.node]) for item in nodes]

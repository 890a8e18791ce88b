"""Parameters and multiply-adds of a network, counted on its captured operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import paddle
from paddle import nn

from ppcls_compress.slim.graph import Graph, Op, Shape, capture_or_refuse
from ppcls_compress.slim.inputs import Inputs, with_dtypes


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds of one operator.

    Attributes:
        name: path of the layer that owns it.
        weight: structured name of its weight, None when that is computed.
        op: operator name.
        flops: multiply-adds.
    """

    name: str
    weight: str | None
    op: str
    flops: int


@dataclass(frozen=True)
class Cost:
    """`params` in all parameters, not running statistics; `flops` multiply-adds of convolutions and products."""

    params: int
    flops: int
    layers: tuple[LayerCost, ...]


def count(model: nn.Layer, inputs: Inputs) -> Cost:
    """Cost of one forward pass over inputs of these shapes, for example `[[1, 3, 224, 224]]`.

    Raises:
        UserError: the forward pass fails on such inputs.
    """
    graph = capture_or_refuse(model, inputs)
    return cost_of(graph, graph.shapes, sum(prod(p.shape) for p in counted_parameters(model)))


def counted_parameters(model: nn.Layer) -> list[paddle.Tensor]:
    """The parameters of a model as the field counts them: Paddle also lists the running statistics of batch norms."""
    statistics = {
        id(tensor)
        for layer in model.sublayers(include_self=True)
        for tensor in (getattr(layer, "_mean", None), getattr(layer, "_variance", None))
        if isinstance(tensor, paddle.Tensor)
    }
    return [parameter for parameter in model.parameters() if id(parameter) not in statistics]


def cost_of(graph: Graph, shapes: Mapping[str, Shape], params: int) -> Cost:
    """Cost of a captured network whose values have the given shapes."""
    layers = []
    for op in graph.ops:
        flops = multiply_adds(op, shapes)
        if flops is not None:
            weight = op.inputs[1] if len(op.inputs) > 1 else None
            layers.append(LayerCost(op.owner, graph.parameters.get(weight), op.name, flops))
    return Cost(params, sum(layer.flops for layer in layers), tuple(layers))


def multiply_adds(op: Op, shapes: Mapping[str, Shape]) -> int | None:
    """Multiply-adds of a convolution or matrix product, None for any other operator."""
    if op.name in ("conv2d", "depthwise_conv2d", "conv3d"):
        return prod(shapes[op.outputs[0]]) * prod(shapes[op.inputs[1]][1:])
    if op.name in ("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose"):
        return prod(shapes[op.inputs[0]]) * prod(shapes[op.inputs[1]][1:])
    if op.name in ("matmul", "bmm", "linear"):
        x = shapes[op.inputs[0]]
        return prod(shapes[op.outputs[0]]) * x[-2 if op.attrs.get("transpose_x") and len(x) > 1 else -1]
    return None


def dygraph_flops(
    model: nn.Layer,
    inputs: Inputs,
    dtypes: str | list[str] | None = None,
    only_conv: bool = False,
    detail: bool = False,
) -> float | tuple[float, dict[str, float]]:
    """FLOPs as PaddleSlim's function of this name counts them, per image.

    Multiply-adds of convolutions and matrix products; unless `only_conv`, also the elements that ReLU, ReLU6 and
    sigmoid read, twice those that batch normalization reads, and 2 * kernel^2 per element that an average pool writes.

    Args:
        dtypes: of the inputs, when these are given as shapes.
        detail: also return {Paddle's parameter name: FLOPs} for the weights of convolutions and matrix products.
    """
    graph = capture_or_refuse(model, with_dtypes(inputs, dtypes))
    total, details = upstream_flops(graph, graph.shapes, only_conv=only_conv)
    return (total, details) if detail else total


def upstream_flops(
    graph: Graph, shapes: Mapping[str, Shape], *, only_conv: bool = False
) -> tuple[float, dict[str, float]]:
    """`dygraph_flops` of a captured network whose values have the given shapes, with details."""
    total, details = 0.0, {}
    for op in graph.ops:
        flops = _upstream_flops(graph, shapes, op, only_conv)
        total += flops
        if op.name in ("conv2d", "depthwise_conv2d", "matmul"):
            name = graph.parameters.get(op.inputs[1])
            details[graph.tensors[name].name if name else op.inputs[1]] = flops
    return total, details


def _upstream_flops(graph: Graph, shapes: Mapping[str, Shape], op: Op, only_conv: bool) -> float:
    if op.name in ("conv2d", "depthwise_conv2d"):
        return float(prod(shapes[op.outputs[0]][1:]) * prod(shapes[op.inputs[1]][1:]))
    if op.name == "matmul":
        x, y = shapes[op.inputs[0]], shapes[op.inputs[1]]
        return float(x[0] * (x[1] if len(x) > 1 else 1) * (y[1] if len(y) > 1 else 1))
    if only_conv:
        return 0.0
    if op.name in ("relu", "relu6", "sigmoid"):
        return float(prod(shapes[op.inputs[0]]))
    if op.name == "batch_norm":
        return 2.0 * prod(shapes[op.inputs[0]])
    if op.name == "pool2d" and op.attrs["pooling_type"] == "avg":
        window = graph.ints(op.inputs[1]) or [1]
        return 2.0 * prod(shapes[op.outputs[0]][1:]) * window[0] ** 2
    return 0.0

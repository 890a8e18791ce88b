"""Tidy a float graph: constants, batch norms and biases folded, hard-swish and flatten in one node each, gates clipped.

What the integer layouts rely on afterwards: a convolution or linear layer is one node, `Conv` or `Gemm`, whose weight
is a constant of its own and whose bias is its third input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppcls_compress.deploy.onnx.graph import Graph, Node

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_NOT_FOLDED = {"Shape", "Constant"}
_DEFAULT_EPSILON = 1e-5
_HARD_SIGMOID = (0.2, 0.5)  # of an operator that does not say
_HARD_SWISH = (1 / 6, 0.5)
_KEEPS_SHAPE = ("Relu", "Dropout", "HardSwish", "HardSigmoid", "Sigmoid", "Clip", "MatMul", "Identity", "Mark")


@dataclass(frozen=True)
class Folded:
    """Where a weighted node's weight comes from: the parameter's name, and the factor per output channel folded in."""

    parameter: str
    factor: np.ndarray


def simplify(graph: Graph) -> dict[str, Folded]:
    """Tidy `graph` in place.

    Returns:
        For each weighted node, by the name of its output, what its weight was made of.
    """
    for node in [node for node in graph.nodes if node.op == "Identity"]:
        graph.bypass(node)
    _fold_constants(graph)
    _name_flattening(graph)
    _name_hard_swish(graph)
    _join_linear(graph)
    _clip_gates(graph)
    folded = _fold_into_weights(graph)
    graph.sweep()
    return folded


def output_channel_axis(node: Node) -> int:
    """Which axis of a weighted node's weight holds the output channels."""
    return 0 if node.op == "Conv" or node.attributes.get("transB") else 1


def _fold_constants(graph: Graph) -> None:
    """Compute the nodes that read constants only."""
    for node in list(graph.nodes):
        names = [name for name in node.inputs if name]
        if node.op in _NOT_FOLDED or not names or any(name not in graph.constants for name in names):
            continue
        if node.output == graph.output.name:
            continue
        for name, value in zip(node.outputs, _evaluate(graph, node), strict=True):
            graph.constants[name] = value
        graph.remove(node)


def _evaluate(graph: Graph, node: Node) -> list[np.ndarray]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    from ppcls_compress.deploy.onnx.graph import OPSET

    names = [name for name in dict.fromkeys(node.inputs) if name]
    values = {name: graph.constants[name] for name in names}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs]
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, **node.attributes)
    body = onnx.helper.make_graph([proto], "constant", inputs, outputs)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    return ReferenceEvaluator(model).run(None, values)


def _name_flattening(graph: Graph) -> None:
    """Reshape by the tensor's own batch size and one free dimension -> Flatten."""
    for node in [node for node in graph.nodes if node.op == "Reshape"]:
        shape = graph.producer(node.inputs[1])
        if shape is None or shape.op != "Concat" or len(shape.inputs) != 2:
            continue
        batch, rest = graph.producer(shape.inputs[0]), graph.constant(shape.inputs[1])
        if rest is not None and rest.size == 1 and _is_batch_size_of(graph, batch, node.inputs[0]):
            graph.insert("Flatten", [node.inputs[0]], f"{node.output}.flat", before=node, axis=1)
            node.op, node.attributes = "Identity", {}
            graph.set_input(node, 0, graph.nodes[graph.nodes.index(node) - 1].output)
            del node.inputs[1:]
            graph.bypass(node)


def _is_batch_size_of(graph: Graph, node: Node | None, tensor: str) -> bool:
    """Whether a node is Slice(Shape(tensor), 0, 1)."""
    if node is None or node.op != "Slice" or len(node.inputs) < 3:
        return False
    source = graph.producer(node.inputs[0])
    bounds = [graph.constant(name) for name in node.inputs[1:3]]
    if source is None or source.op != "Shape" or source.inputs[0] != tensor or any(item is None for item in bounds):
        return False
    return [item.reshape(-1).tolist() for item in bounds] == [[0], [1]]


def _name_hard_swish(graph: Graph) -> None:
    """x * HardSigmoid(x) -> HardSwish(x)."""
    for node in [node for node in graph.nodes if node.op == "HardSigmoid"]:
        product = graph.only_reader(node.output)
        same = product is not None and product.op == "Mul" and set(product.inputs) == {node.inputs[0], node.output}
        if same and np.allclose(slope_and_offset(node), _HARD_SWISH):
            product.op = "HardSwish"
            product.inputs = [node.inputs[0]]
            graph.remove(node)


def slope_and_offset(node: Node) -> tuple[float, float]:
    """a and b of HardSigmoid(x) = clip(a x + b, 0, 1)."""
    slope, offset = _HARD_SIGMOID
    return node.attributes.get("alpha", slope), node.attributes.get("beta", offset)


def _clip_gates(graph: Graph) -> None:
    """HardSigmoid(x) -> Clip(a x + b, 0, 1) where x is a convolution or linear layer with a bias that is folded later.

    Slope and offset become part of its scale and bias, and runtimes compute the clipping with it; a HardSigmoid by
    itself runs on slow kernels, in a memory layout of its own.
    """
    for node in [node for node in graph.nodes if node.op == "HardSigmoid"]:
        if not _is_affine_of_weighted(graph, node.inputs[0]):
            continue
        line = node.inputs[0]
        for op, value in zip(("Mul", "Add"), slope_and_offset(node), strict=True):
            constant = graph.add_constant(f"{node.output}.{op.lower()}", np.float32(value))
            line = graph.insert(op, [line, constant], f"{node.output}.line", before=node)
        node.op, node.attributes = "Clip", {}
        bounds = [graph.add_constant(f"{node.output}.bound", np.float32(value)) for value in (0, 1)]
        for position, name in enumerate((line, *bounds)):
            graph.set_input(node, position, name)


def _is_affine_of_weighted(graph: Graph, name: str) -> bool:
    """Whether `_fold_into_weights` reaches a tensor from a convolution or linear layer."""
    while (node := graph.producer(name)) is not None and graph.only_reader(name) is not None:
        if node.op in ("Conv", "Gemm"):
            return graph.constant(node.inputs[1]) is not None
        if node.op not in ("Add", "Mul", "BatchNormalization") or _small_constant(graph, node) is None:
            return False
        name = next(item for item in node.inputs if item not in graph.constants)
    return False


def _join_linear(graph: Graph) -> None:
    """MatMul by a constant matrix after Flatten -> Gemm, which takes a bias."""
    for node in [node for node in graph.nodes if node.op == "MatMul"]:
        weight, source = graph.constant(node.inputs[1]), node.inputs[0]
        if weight is not None and weight.ndim == 2 and _is_flat(graph, source):
            node.op = "Gemm"


def _is_flat(graph: Graph, name: str) -> bool:
    """Whether a tensor surely has two dimensions, looking back along operators that keep the shape."""
    while (node := graph.producer(name)) is not None:
        if node.op in ("Flatten", "Gemm"):
            return True
        if node.op == "MatMul" and (weight := graph.constant(node.inputs[1])) is not None and weight.ndim != 2:
            return False
        if node.op not in _KEEPS_SHAPE and not (node.op in ("Add", "Mul") and _small_constant(graph, node) is not None):
            return False
        name = next(item for item in node.inputs if item not in graph.constants)
    return False


def _small_constant(graph: Graph, node: Node) -> np.ndarray | None:
    """The operand of a two-input node that is a constant of at most one dimension above 1."""
    for name in node.inputs:
        value = graph.constant(name)
        if value is not None and sum(size > 1 for size in value.shape) <= 1:
            return value
    return None


def _fold_into_weights(graph: Graph) -> dict[str, Folded]:
    """Give each weighted node a weight and bias of its own, with the batch norm and additions that follow folded in."""
    found = {}
    for node in [node for node in graph.nodes if node.op in WEIGHTED]:
        weight = graph.constant(node.inputs[1])
        if weight is None:
            continue
        parameter, axis = node.inputs[1], output_channel_axis(node)
        channels = weight.shape[axis] * (node.attributes.get("group", 1) if node.op == "ConvTranspose" else 1)
        factor, bias = np.ones(channels), _bias_of(graph, node, channels)
        while (step := _affine_step(graph, node, channels)) is not None:
            after, scale, shift = step
            factor, bias = factor * scale, bias * scale + shift
            graph.remove(after)
            graph.set_output(node, after.output)
        own = weight if node.op in ("MatMul", "ConvTranspose") else _scaled(weight, factor, axis)
        graph.set_input(node, 1, graph.add_constant(f"{parameter}.folded", own))
        if node.op not in ("MatMul", "ConvTranspose"):
            graph.set_input(node, 2, graph.add_constant(f"{parameter}.bias", bias.astype(np.float32)))
        found[node.output] = Folded(parameter, factor)
    return found


def _scaled(weight: np.ndarray, factor: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[axis] = factor.size
    return (weight * factor.reshape(shape)).astype(np.float32)


def _bias_of(graph: Graph, node: Node, channels: int) -> np.ndarray:
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(channels) if bias is None else bias.astype(np.float64)


def _affine_step(graph: Graph, node: Node, channels: int) -> tuple[Node, np.ndarray, np.ndarray] | None:
    """The node after `node` if it is a * y + b per channel, with a and b; None for anything else."""
    after = graph.only_reader(node.output)
    if after is None or node.op in ("MatMul", "ConvTranspose"):
        return None
    if after.op == "BatchNormalization":
        scale, shift, mean, variance = (graph.constants[name].astype(np.float64) for name in after.inputs[1:5])
        factor = scale / np.sqrt(variance + after.attributes.get("epsilon", _DEFAULT_EPSILON))
        return after, factor, shift - mean * factor
    if after.op not in ("Add", "Mul"):
        return None
    (other,) = [name for name in after.inputs if name != node.output] or [""]
    values = _per_channel(graph.constant(other), channels, node.op)
    if values is None:
        return None
    return (after, np.ones(channels), values) if after.op == "Add" else (after, values, np.zeros(channels))


def _per_channel(value: np.ndarray | None, channels: int, op: str) -> np.ndarray | None:
    """A constant operand as one number per channel, if it broadcasts along the channels."""
    if value is None:
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(-1)[0], np.float64)
    trailing = (1, 1) if op == "Conv" else ()
    shape = (channels, *trailing)
    fits = value.size == channels and value.shape[-len(shape) :] == shape
    return value.reshape(-1).astype(np.float64) if fits else None

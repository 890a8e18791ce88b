"""The weights of an exported model, put back into the network that it was made of.

By name where the file kept Paddle's names or those of the state dict; or node by node, where it follows the network
operator by operator. Otherwise by structure: both are tidied into graphs, whose nodes with weights follow one another
alike. What an exporter folded cannot be taken apart again: the folded weight is the convolution's then, and the batch
norm after it passes everything on, with the folded bias. With images it gets the mean and the variance of what it
reads, and the weight and bias that undo them, so that training, which normalizes by the batch, starts from the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.imported.network import FloatNetwork
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.deploy.onnx import convert
from ppcls_compress.deploy.onnx.graph import constant
from ppcls_compress.deploy.onnx.layered import normalize_products
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.deploy.onnx.simplify import simplify
from ppcls_compress.deploy.onnx.weights import WEIGHTED, Folded
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.quant.fold import foldable_pairs

_TOLERANCE = 1e-3
"""Of the largest logit: float32 in another order is far below, another weight far above."""
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Imported:
    """What was done.

    Attributes:
        how: `names`, `operators` or `structure`.
        folded: batch norms whose weights stand in the convolution before.
        difference: the largest of the logits, relative to the largest logit.
    """

    how: str
    folded: tuple[str, ...]
    difference: float


def import_weights(
    model: paddle.nn.Layer, network: FloatNetwork, images: np.ndarray, batches: Iterable[np.ndarray] | None = None
) -> Imported:
    """Give a network the weights of an exported model, in place.

    Args:
        model: with any weights; after an error they are arbitrary.
        network: the exported model.
        images: to compare the logits on, float32 [N, C, H, W].
        batches: images for the statistics of batch norms that were folded; None leaves these at mean 0, variance 1.

    Raises:
        UserError: the networks are not the same, or their logits differ.
    """
    wanted = network.runner()(images)
    for how, take in _WHOLE.items():
        found = _distance(model, images, wanted) if take(model, network) else None
        if found is not None and found <= _TOLERANCE:
            return Imported(how, (), found)
    norms = _take_by_structure(model, network)
    found = _distance(model, images, wanted)
    if found is None or not found <= _TOLERANCE:
        told = "have another shape" if found is None else f"differ by up to {found:.1%} of the largest"
        raise UserError(
            f"{network.source.path}: is not what the configuration describes: with its weights the logits {told}"
        )
    if batches is not None:
        _set_statistics(model, norms, batches)
        found = _distance(model, images, wanted)
    return Imported("structure", tuple(norms), found)


def _distance(model: paddle.nn.Layer, images: np.ndarray, wanted: np.ndarray) -> float | None:
    logits = logits_of(model, images)
    if logits.shape != wanted.shape:
        return None
    return float(np.abs(logits - wanted).max() / (np.abs(wanted).max() + _ROUNDING))


def _take_by_name(model: paddle.nn.Layer, network: FloatNetwork) -> bool:
    """Set all of a network's state if names and shapes are there; whether they are."""
    state, constants = model.state_dict(), network.untidied.graph.initializers
    for names in ({key: value.name for key, value in state.items()}, {key: key for key in state}):
        found = {key: constant(constants.get(name)) for key, name in names.items()}
        if all(array is not None and list(array.shape) == state[key].shape for key, array in found.items()):
            for key, array in found.items():
                state[key].set_value(array.astype(state[key].numpy().dtype))
            return True
    return False


def _take_by_operator(model: paddle.nn.Layer, network: FloatNetwork) -> bool:
    """Set all of a network's state from the nodes of the file, if these are the network's own; whether they are."""
    with quiet():
        graph = convert.float_graph(model, network.image_shape)
    state = {value.name: value for value in model.state_dict().values()}
    own = [node for node in _ordered(graph) if _names_of(node, state)]
    kinds = {node.op_type for node in own}
    other = [node for node in _ordered(network.untidied) if node.op_type in kinds]
    other = [node for node in other if any(constant(value) is not None for value in node.inputs)]
    if [node.op_type for node in own] != [node.op_type for node in other]:
        return False
    taken = set()
    for mine, its in zip(own, other, strict=True):
        taken |= _take_constants(mine, its, state)
    return taken == state.keys()


def _make_unlike(vectors: list[paddle.Tensor], layers: Mapping[str, paddle.nn.Layer], norms: Mapping[str, str]) -> None:
    """Fill vectors that no folding takes in, such as slopes, so that each is known by its values in any shape."""
    rng = np.random.default_rng(0)
    biases = [layer.bias for layer in layers.values() if getattr(layer, "bias", None) is not None]
    state = [value for norm in norms.values() for value in layers[norm].state_dict().values()]
    known = {value.name for value in (*biases, *state)}
    for vector in vectors:
        if vector.name not in known:
            vector.set_value(rng.uniform(0.5, 1.5, vector.shape).astype(np.float32))


def _names_of(node: ir.Node, state: Mapping[str, paddle.Tensor]) -> list[str]:
    return [value.name for value in node.inputs if value is not None and value.name in state]


_WHOLE = {"names": _take_by_name, "operators": _take_by_operator}
"""How weights are found of which nothing was folded, in this order."""


def _take_by_structure(model: paddle.nn.Layer, network: FloatNetwork) -> list[str]:
    """Set the weights of nodes that correspond; the names of batch norms that only pass on what they read."""
    layers = dict(model.named_sublayers())
    example = [paddle.zeros([1, *network.image_shape])]
    norms = dict(foldable_pairs(model, example))
    for conv, norm in norms.items():
        _pass_on(layers[norm])
        if layers[conv].bias is not None:
            layers[conv].bias.set_value(paddle.zeros_like(layers[conv].bias))
    parameters = {parameter.name: parameter for parameter in model.state_dict().values()}
    _make_unlike([parameter for parameter in parameters.values() if parameter.ndim == 1], layers, norms)
    with quiet():
        graph = convert.float_graph(model, network.image_shape)
        normalize_products(graph)
        folded = simplify(graph)
    owners = {layer.weight.name: name for name, layer in layers.items() if _has_weight(layer)}
    left = {name for name, parameter in parameters.items() if not parameter.stop_gradient}
    left -= {layers[norm].weight.name for norm in norms.values() if layers[norm].weight is not None}
    for own, other in _pairs(graph, network):
        origin = folded.get(own.inputs[1].name) if own.op_type in WEIGHTED else None
        if origin is None:
            left -= _take_constants(own, other, parameters)
            continue
        name = owners.get(origin.parameter)
        if name is None:
            raise UserError(f"{origin.parameter}: a weight that no layer of the network has; cannot be imported")
        norm = layers[norms[name]] if name in norms else None
        left -= {origin.parameter, *_take_layer(layers[name], norm, own, other, origin)}
    if left:
        raise UserError(f"{network.source.path}: has nothing for {', '.join(sorted(left)[:5])} of the network")
    return list(norms.values())


def _has_weight(layer: paddle.nn.Layer) -> bool:
    return isinstance(getattr(layer, "weight", None), paddle.Tensor)


def _pass_on(norm: paddle.nn.Layer) -> None:
    """Let a batch norm give what it reads, in evaluation."""
    size = norm._mean.shape
    norm._mean.set_value(np.zeros(size, np.float32))
    norm._variance.set_value(np.full(size, 1 - norm._epsilon, np.float32))
    for parameter, value in ((norm.weight, 1.0), (norm.bias, 0.0)):
        if parameter is not None:
            parameter.set_value(np.full(size, value, np.float32))


def _pairs(graph: ir.Model, network: FloatNetwork) -> list[tuple[ir.Node, ir.Node]]:
    """Nodes of the network and of the file that correspond: all of them, or those with weights."""
    own, other = _ordered(graph), _ordered(network.graph)
    if [node.op_type for node in own] != [node.op_type for node in other]:
        own, other = ([node for node in nodes if node.op_type in WEIGHTED] for nodes in (own, other))
    described = [[_described(node) for node in nodes] for nodes in (own, other)]
    if described[0] != described[1]:
        wrong = next((pair for pair in zip(*described, strict=False) if pair[0] != pair[1]), None)
        counts = f"{len(own)} layers with weights in the configured network, {len(other)} in the file"
        told = counts if wrong is None else f"{wrong[0]} in the configured network, {wrong[1]} in the file"
        raise UserError(f"{network.source.path}: is not what the configuration describes: {told}")
    return list(zip(own, other, strict=True))


def _ordered(model: ir.Model) -> list[ir.Node]:
    """Every node after those that it reads, first things first: the order of a file's own list says nothing."""
    found: dict[ir.Node, None] = {}
    pending = [(model.graph.outputs[0].producer(), False)]
    while pending:
        node, known = pending.pop()
        if node is None or node in found:
            continue
        if known:
            found[node] = None
            continue
        pending.append((node, True))
        pending += [(value.producer(), False) for value in reversed(node.inputs) if value is not None]
    return list(found)


def _described(node: ir.Node) -> str:
    weight = constant(node.inputs[1]) if node.op_type in WEIGHTED else None
    return node.op_type if weight is None else f"{node.op_type} {list(weight.shape)}"


def _take_layer(
    layer: paddle.nn.Layer, norm: paddle.nn.Layer | None, own: ir.Node, other: ir.Node, origin: Folded
) -> set[str]:
    """Set a layer so that its node computes as the other; the names of the biases that were set."""
    shape = [1] * origin.original.ndim
    shape[origin.axis] = -1
    folds = origin.bias is not None
    factor = origin.factor if folds else np.ones(1)
    weight = constant(other.inputs[1]).astype(np.float64)
    layer.weight.set_value((weight / factor.reshape(shape)).astype(np.float32))
    given = other.inputs[2] if len(other.inputs) > 2 else None
    bias = np.zeros(1) if given is None else constant(given).astype(np.float64)
    bias = (bias - (_own_shift(layer, norm, origin) if folds else 0.0)) / factor
    target = layer.bias if norm is None else norm.bias
    if target is None:
        if np.abs(bias).max() > _ROUNDING:
            raise UserError(f"{origin.parameter}: the file has a bias for it, and the configured network has none")
        return set()
    target.set_value(np.broadcast_to(bias, target.shape).astype(np.float32))
    return {tensor.name for tensor in (layer.bias, target) if tensor is not None}


def _own_shift(layer: paddle.nn.Layer, norm: paddle.nn.Layer | None, origin: Folded) -> np.ndarray:
    """What a node adds beside the bias that is to be set."""
    bias = layer.bias if norm is None else None
    return origin.bias if bias is None else origin.bias - bias.numpy().astype(np.float64) * origin.factor


def _take_constants(own: ir.Node, other: ir.Node, parameters: Mapping[str, paddle.Tensor]) -> set[str]:
    """Set the parameters that a node without a folded weight reads; their names."""
    taken = set()
    for mine, its in zip(own.inputs, other.inputs, strict=False):
        array, held = constant(its), constant(mine)
        parameter = None if mine is None else parameters.get(mine.name)
        parameter = _known_by_value(held, parameters) if parameter is None else parameter
        if parameter is not None and array is not None and array.shape == held.shape:
            parameter.set_value(array.reshape(parameter.shape).astype(np.float32))
            taken.add(parameter.name)
    return taken


def _known_by_value(held: np.ndarray | None, parameters: Mapping[str, paddle.Tensor]) -> paddle.Tensor | None:
    """The parameter whose values a constant has in another shape."""
    if held is None or held.size < 2 or held.dtype != np.float32:
        return None
    alike = [item for item in parameters.values() if item.ndim == 1 and item.size == held.size]
    return next((item for item in alike if np.array_equal(item.numpy(), held.reshape(-1))), None)


def _set_statistics(model: paddle.nn.Layer, norms: list[str], batches: Iterable[np.ndarray]) -> None:
    """Give batch norms that pass everything on the statistics of what they read, and the affine that undoes them."""
    found, sums = dict(model.named_sublayers()), {name: [0, 0.0, 0.0] for name in norms}
    hooks = []
    for name in norms:

        def look(layer: paddle.nn.Layer, inputs: tuple, total: list = sums[name]) -> None:
            values = np.moveaxis(inputs[0].numpy().astype(np.float64), 1, 0)
            values = values.reshape(len(values), -1)
            total[0] += values.shape[1]
            total[1] += values.sum(axis=1)
            total[2] += np.square(values).sum(axis=1)

        hooks.append(found[name].register_forward_pre_hook(look))
    try:
        with inference_mode(model):
            for batch in batches:
                model(paddle.to_tensor(batch))
    finally:
        for hook in hooks:
            hook.remove()
    for name, (count, total, squares) in sums.items():
        norm = found[name]
        if norm.weight is None or norm.bias is None or not count:
            continue
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
        norm._mean.set_value(mean.astype(np.float32))
        norm._variance.set_value(variance.astype(np.float32))
        norm.weight.set_value(np.sqrt(variance + norm._epsilon).astype(np.float32))
        norm.bias.set_value((norm.bias.numpy() + mean).astype(np.float32))

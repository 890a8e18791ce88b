"""An exported file beside the network it came from: what each quantized layer reads, three ways, and what is wrong.

    found = inspect(folder / "model.onnx", model, images)
    found.astray                     # the first layer whose tensor in ONNX Runtime is not the fake-quantized one

The layers of a file are known by their integers, which no export changes but for signs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.lost import decibels
from ppcls_compress.deploy.onnx import graph as editing
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.deploy.onnx.weights import WEIGHTED
from ppcls_compress.errors import UserError
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.quant import fold, layers
from ppcls_compress.slim.quant.analysis import Rounding
from ppcls_compress.slim.quant.causes import Cause
from ppcls_compress.slim.quant.inference import LayerGrid, grids
from ppcls_compress.slim.quant.input_grid import InputGrid

ASTRAY = 25.0
"""Below so many decibels a tensor of the file is another one, if rounding alone does not bring it there."""
_BEYOND_ROUNDING, _SAME = 6.0, 20.0
_SCALE_SLACK, _ALIKE = 0.005, 0.05
OTHER = "other arithmetic"
"""The kind of a fault that is none of those that are known."""


@dataclass(frozen=True)
class Tensor:
    """What a layer reads; decibels, the power of the first over that of its difference from the second.

    Attributes:
        layer: structured name.
        rounded: the float network's and the fake-quantized one's.
        file: the fake-quantized network's and the runtime's.
        both: the float network's and the runtime's.
        reach: the largest magnitude that it reads in float.
        limit: where its range ends; None where that is found for each batch.
    """

    layer: str
    rounded: float
    file: float
    both: float
    reach: float
    limit: float | None

    @property
    def is_astray(self) -> bool:
        """Whether the runtime's tensor differs by more than what is rounded besides can explain."""
        return self.file < min(ASTRAY, self.rounded - _BEYOND_ROUNDING)


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        tensors: in the order of the forward pass.
        astray: the first layer whose tensor is another one, or None.
        faults: what is wrong, by layer.
    """

    tensors: list[Tensor]
    astray: str | None
    faults: dict[str, Cause]


def inspect(
    path: str | Path, model: paddle.nn.Layer, images: np.ndarray, given: np.ndarray | None = None
) -> Inspection:
    """Compare a file with the network it was exported from.

    Args:
        path: of the layout `ort` or `openvino`.
        model: calibrated or trained; not changed.
        images: float32 [N, C, H, W] as the network reads them.
        given: the same images as the file's own preparation gives them; None for the same.

    Raises:
        UserError: the file is no ONNX model, or holds none of the network's layers.
    """
    with quiet():
        network, known = editing.load(path), grids(model)
    nodes = nodes_of(network, known)
    if not nodes:
        raise UserError(f"{path}: holds none of this network's quantized layers; it was exported from other weights")
    exact, rounded = (_read(model, images, quantizing) for quantizing in (False, True))
    order = [name for name in exact if name in nodes and len(exact[name]) == 1]
    found = dict(
        zip(order, run(network, [nodes[name] for name in order], images if given is None else given), strict=True)
    )
    tensors, seen = [], {}
    for name in order:
        wanted, grid = rounded[name][0], known[name].input
        seen[name] = _undivided(found[name], wanted, grid and grid.factors)
        pairs = ((exact[name][0], wanted), (wanted, seen[name]), (exact[name][0], seen[name]))
        reach = float(np.abs(exact[name][0]).max())
        tensors.append(Tensor(name, *(decibels(*pair) for pair in pairs), reach, grid and grid.limit))
    astray = next((tensor.layer for tensor in tensors if tensor.is_astray), None)
    faults = _epsilons(model, images, nodes, known)
    if astray is not None and not faults:
        first = astray == order[0]
        faults[astray] = _fault(nodes[astray], known[astray].input, rounded[astray][0], seen[astray], first=first)
    return Inspection(tensors, astray, faults)


def nodes_of(network: ir.Model, known: Mapping[str, LayerGrid]) -> dict[str, ir.Node]:
    """The node of each layer whose integers the file holds."""
    free = []
    for node in network.graph:
        source = node.inputs[1].producer() if node.op_type in WEIGHTED and node.inputs[1] is not None else None
        if source is not None and source.op_type == "DequantizeLinear":
            free.append((node, editing.constant(source.inputs[0])))
    found = {}
    for name, grid in known.items():
        wanted = None if grid.weight is None else np.abs(grid.weight.integers.astype(np.int16))
        for index, (node, integers) in enumerate(free):
            if integers is not None and wanted is not None and _same_integers(integers, wanted):
                found[name] = node
                del free[index]
                break
    return found


def _same_integers(integers: np.ndarray, wanted: np.ndarray) -> bool:
    integers = np.abs(integers.astype(np.int16))
    return any(array.shape == wanted.shape and np.array_equal(array, wanted) for array in (integers, integers.T))


def _read(model: paddle.nn.Layer, images: np.ndarray, quantizing: bool) -> dict[str, list[np.ndarray]]:
    """What each layer reads in each of its calls, in the order of the first ones; rounded if `quantizing`."""
    found = layers.quant_layers(model)
    seen: dict[str, list[np.ndarray]] = {}

    def hook_for(name: str):
        def look(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, object]) -> None:
            x = layer.arguments(inputs, named)[0]
            seen.setdefault(name, []).append((layer.quantized_input(x) if quantizing else x).numpy())

        return look

    hooks = [layer.register_forward_pre_hook(hook_for(name), with_kwargs=True) for name, layer in found.items()]
    try:
        with layers.evaluating(model), paddle.no_grad(), Rounding(model) as flags:
            flags.round_only(found if quantizing else ())
            describing.call(model, paddle.to_tensor(images))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def run(network: ir.Model, nodes: Sequence[ir.Node], images: np.ndarray) -> list[np.ndarray]:
    """What the nodes read in ONNX Runtime."""
    import onnxruntime

    graph = network.graph
    graph.outputs[:] = list(dict.fromkeys(node.inputs[0] for node in nodes))
    for value in graph.outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = editing.to_proto(network).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = session.run([node.inputs[0].name for node in nodes], {graph.inputs[0].name: images})
    return [np.asarray(array, np.float32) for array in found]


def _undivided(given: np.ndarray, wanted: np.ndarray, factors: tuple[float, ...] | None) -> np.ndarray:
    """A tensor of a file that divides it by the factors of its channels, as it is without."""
    given = given.reshape(wanted.shape) if given.size == wanted.size else given
    if factors is None:
        return given
    whole = given * np.asarray(factors, np.float32).reshape(1, -1, 1, 1)
    return max((given, whole), key=lambda array: decibels(wanted, array))


def _fault(node: ir.Node, grid: InputGrid | None, wanted: np.ndarray, given: np.ndarray, *, first: bool) -> Cause:
    """What is wrong with what a node reads."""
    pair = _of_pair(node, grid)
    if pair is not None:
        return pair
    if first and wanted.ndim == 4 and wanted.shape[1] <= 4:
        for order in itertools.permutations(range(wanted.shape[1])):
            if list(order) != sorted(order) and decibels(wanted[:, list(order)], given) > _SAME:
                told = f"the file is given the channels in the order {list(order)}"
                return Cause(
                    "swapped channel order", told, "DecodeImage: to_rgb, as in training, in what prepares images"
                )
    if first:
        factor, offset, fits = _line(wanted, given)
        told = f"it is given {factor:.3g} times what training read, plus {offset:.3g}" if fits else "other images"
        return Cause("wrong preprocessing", told, "the transforms of DataLoader.Eval in inference.yml: export again")
    told = "what lies between it and the layers before gives other numbers than the network"
    return Cause(OTHER, told, "the epsilon of a normalization, or a converter: export again, --verbose")


def _of_pair(node: ir.Node, grid: InputGrid | None) -> Cause | None:
    """What is wrong with the pair before a node."""
    source = node.inputs[0].producer()
    if source is None or source.op_type != "DequantizeLinear" or grid is None or grid.limit is None:
        return None
    scale, zero = editing.constant(source.inputs[1]), editing.constant(source.inputs[2])
    wanted = grid.scales if np.size(scale) > 1 else np.float32(grid.scale)
    ratio = float(np.median(scale / wanted))
    if abs(ratio - 1) > _SCALE_SLACK:
        told = f"its input has a scale of {float(np.median(scale)):.3g}, training one of {float(np.median(wanted)):.3g}"
        return Cause("wrong scale", told, "export again from these weights")
    integers = np.iinfo(zero.dtype)
    middle = 0 if integers.min < 0 else 128
    expected = grid.zero_point if grid.zero_point is not None else (0 if grid.unsigned else middle)
    if int(zero.reshape(-1)[0]) != expected:
        told = f"its input has the zero point {int(zero.reshape(-1)[0])}, training has {expected}"
        return Cause("wrong zero point", told, "export again from these weights")
    return None


def _epsilons(
    model: paddle.nn.Layer, images: np.ndarray, nodes: Mapping[str, ir.Node], known: Mapping[str, LayerGrid]
) -> dict[str, Cause]:
    """The convolutions into whose weights a batch norm was folded with another epsilon than it has."""
    found = {}
    for conv, norm in fold.foldable_pairs(model, [paddle.to_tensor(images[:2])]):
        layer = dict(model.named_sublayers())[norm]
        if conv not in nodes or not hasattr(layer, "_variance"):
            continue
        scale = editing.constant(nodes[conv].inputs[1].producer().inputs[1])
        factor = np.abs(fold.affine(layer)[0])
        expected, variance = known[conv].weight.scale * factor, layer._variance.numpy().astype(np.float64)
        present = expected > 0
        if np.size(scale) != factor.size or not present.any():
            continue
        ratio = scale[present] / expected[present]
        used = (variance[present] + layer._epsilon) / ratio**2 - variance[present]
        # A factor per channel that the layout puts into the scales is no epsilon: it is another for each channel.
        if np.abs(ratio - 1).max() > _SCALE_SLACK and used.std() < _ALIKE * abs(used.mean()):
            told = f"{norm} is folded with an epsilon of {used.mean():.3g}, the network has {layer._epsilon:.3g}"
            found[conv] = Cause("wrong epsilon", told, "export again with another converter")
    return found


def _line(wanted: np.ndarray, given: np.ndarray) -> tuple[float, float, bool]:
    """Factor and offset that make one of the other, and whether they do."""
    if wanted.shape != given.shape:
        return 1.0, 0.0, False
    factor, offset = np.polyfit(wanted.reshape(-1).astype(np.float64), given.reshape(-1).astype(np.float64), 1)
    return float(factor), float(offset), decibels(given, (factor * wanted + offset).astype(np.float32)) > _SAME

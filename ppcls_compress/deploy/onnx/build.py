"""Model -> tidied ONNX graph, its integer layers placed for one runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.kinds import Shared
from ppcls_compress.deploy.onnx import (
    convert,
    graph,
    layers,
    place_learned,
    place_openvino,
    place_ort,
    place_qdq,
    ranges,
    targets,
)
from ppcls_compress.deploy.onnx.graph import insert_after, sweep
from ppcls_compress.deploy.onnx.simplify import simplify
from ppcls_compress.deploy.onnx.weights import Folded
from ppcls_compress.engine.progress import step
from ppcls_compress.postprocess.base import NONE, SOFTMAX
from ppcls_compress.slim import quant
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.quant import inference

_Images = list[np.ndarray] | None
_Place = Callable[[ir.Model, Sequence[layers.QuantizedNode], _Images], list[str]]


@dataclass(frozen=True)
class Built:
    """A graph to be written, the names of its integer layers, and lines for the user."""

    model: ir.Model
    quantized: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def build(
    model: paddle.nn.Layer, image_shape: Sequence[int], layout: str, images: _Images, *, ending: str, shared: Shared
) -> Built:
    """The graph of a model; the arguments are those of `export`.

    Raises:
        UserError: the network has no ONNX form, a layer is not calibrated, or calibration images are missing.
    """
    if quant.quant_layers(model):
        with step("converting to ONNX"):
            network, matched = _quantized(model, image_shape, images, shared)
        with step(f"placing what {layout} rounds"):
            return laid_out(network, matched, layout, images, ending=ending, learned=quant.is_placed(model))
    with step("converting to ONNX"):
        network = graph.copied(_float(model, image_shape, shared).network)
    built = finished(Built(network), ending)
    return replace(built, notes=targets.keep(network, layout))


def laid_out(
    network: ir.Model,
    matched: layers.Matched,
    layout: str,
    images: _Images,
    *,
    ending: str,
    learned: bool = False,
) -> Built:
    """A tidied float graph with its quantized layers placed, in place.

    Args:
        network: that `simplify` tidied.
        matched: its quantized layers.
        layout: a name in `files.LAYOUTS`.
        images: for ranges that are not known.
        ending: how the output comes from the logits.
        learned: whether marks tell every place that is rounded.

    Raises:
        UserError: calibration images are missing, what they give is not finite, or the graph breaks rules of what the
            layout is for.
    """
    notes = [*matched.notes, *(_PLACE_LEARNED if learned else _PLACE)[layout](network, matched.nodes, images)]
    built = finished(Built(network, list(dict.fromkeys(item.name for item in matched.nodes))), ending)
    return replace(built, notes=[*notes, *targets.keep(network, layout)])


def write(built: Built, path: Path, *, layout: str, output: str) -> None:
    """Write a graph that is laid out.

    Args:
        path: of the file.
        layout: a name in `files.LAYOUTS`.
        output: what the graph gives, a name in `postprocess.base.OUTPUTS`.
    """
    brief = bool(built.quantized) and not targets.is_elsewhere(layout)  # whose tools tell of tensors by their names
    graph.save(built.model, path, {"layout": layout, "output": output}, brief=brief)


def finished(built: Built, ending: str) -> Built:
    """The graph with its ending, and without what nothing uses."""
    if ending != NONE:
        _append(built.model.graph, ending)
    sweep(built.model)
    return built


@dataclass(frozen=True)
class _Float:
    """A model as a tidied graph in float, of which each layout starts from a copy.

    Attributes:
        network: the graph, with marks where places are learned.
        folded: what its weights were made of.
        layers: the model's quantized layers that it holds, by the names of their weights.
    """

    network: ir.Model
    folded: Mapping[str, Folded] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)


def _float(model: paddle.nn.Layer, image_shape: Sequence[int], shared: Shared) -> _Float:
    return shared.once(__name__, lambda: _converted(model, image_shape))


def _converted(model: paddle.nn.Layer, image_shape: Sequence[int]) -> _Float:
    if not quant.quant_layers(model):
        network = convert.float_graph(model, image_shape)
        simplify(network)
        return _Float(network)
    plain = copied(model)
    names = layers.parameter_names(plain)
    marks = quant.mark_places(plain) if quant.is_placed(model) else {}
    network = convert.float_graph(plain if marks else quant.convert(plain), image_shape)
    parameters = network.graph.initializers
    present = {name: layer for name, layer in names.items() if name in parameters and parameters[name].uses()}
    return _Float(network, simplify(network, marks), present)


def _quantized(
    model: paddle.nn.Layer, image_shape: Sequence[int], images: _Images, shared: Shared
) -> tuple[ir.Model, layers.Matched]:
    """The simplified float graph and the quantized layers in it."""
    grids = inference.grids(model)
    anew = [name for name, grid in grids.items() if grid.input is not None and grid.input.limit is None]
    observed = ranges.input_magnitudes(model, anew, images)
    found = _float(model, image_shape, shared)
    network = graph.copied(found.network)
    return network, layers.match(network, found.folded, found.layers, grids, observed, place_learned.grid_before)


def _place_openvino(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    place_openvino.place(nodes)
    return []


def _place_ort(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    if images is None:
        raise ranges.needed()

    return place_ort.place(network, nodes, _observer(network, nodes, images, _pairs))


def _observer(
    network: ir.Model,
    nodes: Sequence[layers.QuantizedNode],
    images: _Images,
    pairs: Callable[[ir.Model, Sequence[layers.QuantizedNode]], None],
) -> place_ort.Observe:
    """Observes tensors in the graph that training saw, so that a range that clips does so here as well."""

    def observe(names: Sequence[str], by_channel: Collection[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        if names and images is None:
            raise ranges.needed()
        trained, counterparts = layers.counterpart(network, nodes)
        pairs(trained, counterparts)
        return ranges.observe(trained, names, images, by_channel)

    return observe


def _pairs(network: ir.Model, nodes: Sequence[layers.QuantizedNode]) -> None:
    place_openvino.place(nodes)


def _place_qdq(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    return _explicit(network, nodes, images, _pairs)


def _explicit(
    network: ir.Model,
    nodes: Sequence[layers.QuantizedNode],
    images: _Images,
    pairs: Callable[[ir.Model, Sequence[layers.QuantizedNode]], None],
) -> list[str]:
    return place_qdq.place(network, nodes, _observer(network, nodes, images, pairs), pairs)


_PLACE: Mapping[str, _Place] = {
    "ort": _place_ort,
    "openvino": _place_openvino,
    "qdq": _place_qdq,
    "rknn": _place_qdq,
}


def _place_learned_ort(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    place_learned.place_ort(network, nodes)
    return []


def _place_learned_openvino(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    place_learned.place_openvino(network, nodes)
    return []


def _place_learned_qdq(network: ir.Model, nodes: Sequence[layers.QuantizedNode], images: _Images) -> list[str]:
    return _explicit(network, nodes, images, place_learned.place_pairs)


_PLACE_LEARNED: Mapping[str, _Place] = {
    "ort": _place_learned_ort,
    "openvino": _place_learned_openvino,
    "qdq": _place_learned_qdq,
    "rknn": _place_learned_qdq,
}


def _append(whole: ir.Graph, ending: str) -> None:
    """Turn the logits into probabilities."""
    logits = whole.outputs[0]
    operator, attributes = ("Softmax", {"axis": -1}) if ending == SOFTMAX else ("Sigmoid", {})
    scores = insert_after(logits, operator, [logits], "scores", **attributes)
    scores.type, scores.shape = logits.type, logits.shape
    whole.outputs[0] = scores

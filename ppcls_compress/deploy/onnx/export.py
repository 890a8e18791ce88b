"""Model -> ONNX file, float or with integer weights, laid out for one runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.deploy.extras import require
from ppcls_compress.deploy.notes import Written
from ppcls_compress.deploy.onnx import (
    convert,
    graph,
    layers,
    place_learned,
    place_openvino,
    place_ort,
    ranges,
    simplify,
)
from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS, MODEL
from ppcls_compress.errors import UserError, unknown
from ppcls_compress.slim import quant
from ppcls_compress.slim.quant import inference


@dataclass(frozen=True, kw_only=True)
class Exported(Written):
    """What an export wrote, and the file `path`."""

    path: Path


def export(
    model: paddle.nn.Layer,
    out_dir: str | Path,
    *,
    image_shape: Sequence[int],
    layout: str,
    softmax: bool = True,
    calibration: Iterable[np.ndarray] | None = None,
) -> Exported:
    """Write `out_dir`/model.onnx, whole or not at all: batch norms folded, free batch size, input `image`.

    Args:
        model: float or fake-quantized, maps [N, C, H, W] images to [N, classes]; not changed.
        out_dir: the folder; created if missing.
        image_shape: (C, H, W).
        layout: `ort` or `openvino`; the same graph for a float model.
        softmax: end with a softmax, so that the output is probabilities, not logits.
        calibration: preprocessed images, float32 [N, C, H, W] each, some hundred in all; for the layout `ort` of a
            quantized model, unless it was trained with `placement: deploy`, and for layers that find their range anew
            for each batch.

    Raises:
        MissingDependencyError: a package is missing; says which extra brings it.
        UserError: the network has no ONNX form, a layer is not calibrated, or calibration images are missing.
    """
    if layout not in LAYOUTS:
        raise UserError(unknown("ONNX layout", layout, LAYOUTS))
    require(LAYOUTS[layout], EXTRAS[layout])
    images = None if calibration is None else list(calibration)
    model = quant.native(model)
    if not quant.quant_layers(model):
        network = convert.float_graph(model, image_shape)
        simplify.simplify(network)
        exported = Exported(path=Path(out_dir) / MODEL)
    else:
        network, matched = _quantized(model, image_shape, images)
        places = _PLACE_LEARNED if quant.is_placed(model) else _PLACE
        notes = [*matched.notes, *places[layout](network, matched.nodes, images)]
        names = list(dict.fromkeys(item.name for item in matched.nodes))
        exported = Exported(path=Path(out_dir) / MODEL, quantized=names, notes=notes)
    if softmax:
        _append_softmax(network)
    network.sweep()
    graph.save(network, exported.path, {"layout": layout, "output": "probabilities" if softmax else "logits"})
    return exported


def _quantized(
    model: paddle.nn.Layer, image_shape: Sequence[int], images: list[np.ndarray] | None
) -> tuple[graph.Graph, layers.Matched]:
    """The simplified float graph and the quantized layers in it."""
    grids = inference.grids(model)
    anew = [name for name, grid in grids.items() if grid.input is not None and grid.input.limit is None]
    observed = ranges.input_magnitudes(model, anew, images)
    plain = copy.deepcopy(model)
    names = layers.parameter_names(plain)
    marks = quant.mark_places(plain) if quant.is_placed(model) else {}
    network = convert.float_graph(plain if marks else quant.convert(plain), image_shape)
    place_learned.mark(network, marks)
    present = {parameter: name for parameter, name in names.items() if network.readers(parameter)}
    folded = simplify.simplify(network)
    matched = layers.match(network, folded, present, grids, observed, place_learned.grid_before(network))
    return network, matched


def _place_openvino(
    network: graph.Graph, nodes: Sequence[layers.QuantizedNode], images: list[np.ndarray] | None
) -> list[str]:
    place_openvino.place(network, nodes)
    return []


def _place_ort(
    network: graph.Graph, nodes: Sequence[layers.QuantizedNode], images: list[np.ndarray] | None
) -> list[str]:
    if images is None:
        raise ranges.needed()

    def observe(names: Sequence[str]) -> dict[str, tuple[float, float]]:
        # In the graph that training saw, so that a range that clips does so here as well.
        trained, counterparts = layers.counterpart(network, nodes)
        place_openvino.place(trained, counterparts)
        return ranges.observe(trained, names, images)

    return place_ort.place(network, nodes, observe)


_PLACE: Mapping[str, Callable[[graph.Graph, Sequence[layers.QuantizedNode], list[np.ndarray] | None], list[str]]] = {
    "ort": _place_ort,
    "openvino": _place_openvino,
}


def _place_learned_ort(
    network: graph.Graph, nodes: Sequence[layers.QuantizedNode], images: list[np.ndarray] | None
) -> list[str]:
    place_learned.place_ort(network, nodes)
    return []


def _place_learned_openvino(
    network: graph.Graph, nodes: Sequence[layers.QuantizedNode], images: list[np.ndarray] | None
) -> list[str]:
    place_learned.place_openvino(network, nodes)
    return []


_PLACE_LEARNED = {"ort": _place_learned_ort, "openvino": _place_learned_openvino}


def _append_softmax(network: graph.Graph) -> None:
    logits = network.output
    scores = network.insert("Softmax", [logits.name], "scores", axis=-1)
    network.output = graph.Value(scores, logits.shape)

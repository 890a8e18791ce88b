"""A float graph of any origin, calibrated: the same quantizers, and the same placement, as a network of Paddle gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.extras import require
from ppcls_compress.deploy.notes import Written
from ppcls_compress.deploy.onnx import build, graph, layered, layers
from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS, MODEL
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.deploy.onnx.weights import Folded
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.postprocess.base import OUTPUTS
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant import inference


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A float graph and the grids of its layers.

    Attributes:
        model: tidied, biases corrected; never changed.
        folded: what `simplify` returned of its layers.
        names: layer by the name of its weight.
        grids: of the layers.
        step: of the compression record.
        notes: a line for each node with a weight that stays float.
    """

    model: ir.Model
    folded: Mapping[str, Folded]
    names: Mapping[str, str]
    grids: Mapping[str, inference.LayerGrid]
    step: Mapping[str, Any]
    notes: Sequence[str]

    def write(self, folder: Path, *, layout: str, output: str, images: list[np.ndarray]) -> Written:
        """Write `folder`/model.onnx in a layout.

        Args:
            folder: it exists.
            layout: a name in `files.LAYOUTS`.
            output: what the file is to give, a name in `postprocess.base.OUTPUTS`.
            images: calibration images in batches, for ranges that no layer reads.

        Raises:
            UserError: a value is not finite on the images.
        """
        require(LAYOUTS[layout], EXTRAS[layout])
        with quiet():
            network = graph.copied(self.model)
            matched = layers.match(network, self.folded, self.names, self.grids, {})
            found = build.laid_out(network, matched, layout, images, ending=OUTPUTS[output])
            build.write(found, folder / MODEL, layout=layout, output=output)
        return Written(found.quantized, [*self.notes, *found.notes])


@dataclass(frozen=True, eq=False)
class Fitted:
    """The layers of a float graph with their ranges.

    Attributes:
        layered: the graph's nodes as layers.
        network: these, quantized and calibrated, their biases corrected.
        folded: what `simplify` returned, of the quantized layers; what is folded into a weight is the layer's own here.
        names: layer by the name of its weight.
        step: of the compression record.
    """

    layered: layered.Layered
    network: paddle.nn.Layer
    folded: Mapping[str, Folded]
    names: Mapping[str, str]
    step: Mapping[str, Any]


def calibrate(
    model: ir.Model, folded: Mapping[str, Folded], options: QuantOptions, batches: Iterable[np.ndarray]
) -> Calibrated:
    """Find the grids of a graph's layers from images; the arguments are those of `fit`, which biases are corrected in.

    Raises:
        UserError: as `fit` does.
    """
    found = fit(model, folded, options, batches)
    found.layered.take_biases()
    known = inference.grids(found.network)
    return Calibrated(model, found.folded, found.names, known, found.step, found.layered.floats)


def fit(model: ir.Model, folded: Mapping[str, Folded], options: QuantOptions, batches: Iterable[np.ndarray]) -> Fitted:
    """Calibrate the layers of a graph on images.

    Args:
        model: that `simplify` tidied; not changed.
        folded: what `simplify` returned.
        options: of `name: ptq`; `skip` and `per_layer` go by the names of weights, or of nodes, without their ending.
        batches: preprocessed images, float32 [N, C, H, W] each.

    Raises:
        ConfigError: the options are for training, or name layers that there are not.
        UserError: the graph has no layer to quantize, or a value is not finite.
    """
    if options.name != "ptq" or options.placement != "layers" or options.backend != "native" or options.classes():
        raise ConfigError(
            "Slim.quant: an exported model is quantized by calibration alone: name: ptq, placement: layers, no classes "
            f"of your own; found name: {options.name}, placement: {options.placement}"
        )
    if options.bits is not None:
        raise ConfigError("Slim.quant.bits: is for networks that a configuration builds; per_layer sets bits by hand")
    found = layered.layered(model, folded)
    if not found.nodes:
        why = "; ".join(found.floats[:3]) or "it has no convolution and no linear layer"
        raise UserError(f"nothing in the model can be quantized: {why}")
    with paddle.no_grad():
        network, step = quant.prepare(found.network, replace(options, fuse_conv_bn=False))
        quant.calibrate(network, map(paddle.to_tensor, batches), reconstruction=options.reconstruction)
    chosen = {found.nodes[name].inputs[1].name: name for name in step["quantized"]}
    # What is folded into a weight stands in it already.
    whole = {
        weight: replace(folded[weight], parameter=weight, factor=np.ones_like(folded[weight].factor))
        for weight in chosen
    }
    return Fitted(found, network, whole, chosen, step)

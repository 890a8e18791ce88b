"""Float model -> model with fake quantizers, and back; the record that rebuilds the same structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import activations, layers, weights
from ppcls_compress.slim.quant.select import Selection, select


def prepare(model: paddle.nn.Layer, options: QuantOptions) -> tuple[paddle.nn.Layer, dict[str, Any]]:
    """Swap the model's convolution and linear layers for quantized ones that share their parameters.

    The activation ranges must then be calibrated (`calibrate`), or come with a state that is loaded.

    Args:
        model: changed in place.
        options: what to quantize, and how.

    Returns:
        The model and a record: {"kind": "quant", "version": 1, "options", "quantized": names, "skipped": [{"layer",
        "type", "reason"}]}.

    Raises:
        UserError: nothing can be quantized, a rule matches no layer, or the model is quantized already.
    """
    selection = select(model, options)
    found = dict(model.named_sublayers())
    swaps = {id(found[name]): _quantized(name, found[name], chosen) for name, chosen in selection.chosen.items()}
    layers.replace(model, swaps)
    return model, _record(options, selection)


def convert(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """Put the plain float layers back, in place, with the weights as they were trained.

    Raises:
        UserError: the model holds no quantized layer.
    """
    found = layers.quant_layers(model)
    if not found:
        raise UserError(f"{type(model).__name__} holds no quantized layer to convert back")
    layers.replace(model, {id(layer): layers.plain(layer) for layer in found.values()})
    return model


def apply_record(model: paddle.nn.Layer, record: Mapping[str, Any]) -> paddle.nn.Layer:
    """Rebuild, in place, the structure that a record describes, so that the state saved with it loads strictly.

    Raises:
        UserError: the record is of another kind or version, or the model's layers are not those of the record.
    """
    if record.get("kind") != "quant" or record.get("version") != 1:
        raise UserError(
            f"not a quantization record of version 1: kind {record.get('kind')!r}, version {record.get('version')!r}"
        )
    model, rebuilt = prepare(model, QuantOptions.from_dict(record["options"]))
    if rebuilt["quantized"] != list(record["quantized"]):
        different = sorted(set(rebuilt["quantized"]) ^ set(record["quantized"]))
        raise UserError(f"the record's quantized layers are not this model's: {', '.join(different[:5])}")
    return model


def _quantized(name: str, layer: paddle.nn.Layer, options: QuantOptions) -> paddle.nn.Layer:
    axis = layers.QUANTIZED[layers.base_type(layer)].channel_axis
    return layers.quantized(layer, activations.build(name, options), weights.build(options, axis))


def _record(options: QuantOptions, selection: Selection) -> dict[str, Any]:
    return {
        "kind": "quant",
        "version": 1,
        "options": options.as_dict(),
        "quantized": list(selection.chosen),
        "skipped": [asdict(item) for item in selection.skipped],
    }

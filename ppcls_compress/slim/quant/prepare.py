"""Float model -> model with fake quantizers, and back; the record that rebuilds the same structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import activations, fold, layers, weights
from ppcls_compress.slim.quant.select import Selection, select


@dataclass(frozen=True)
class CustomParts:
    """Classes of the user's own that replace a step; each is called without arguments, once per layer.

    Attributes:
        weight_preprocess: weight -> weight.
        act_preprocess: activation -> activation.
        weight_quantize: weight -> rounded weight.
        act_quantize: activation -> rounded activation.
    """

    weight_preprocess: type[paddle.nn.Layer] | None = None
    act_preprocess: type[paddle.nn.Layer] | None = None
    weight_quantize: type[paddle.nn.Layer] | None = None
    act_quantize: type[paddle.nn.Layer] | None = None

    def __post_init__(self) -> None:
        for key, kind in self.given().items():
            if not (isinstance(kind, type) and issubclass(kind, paddle.nn.Layer)):
                raise UserError(f"{key}: a subclass of paddle.nn.Layer is needed, found {kind!r}")

    def given(self) -> dict[str, type[paddle.nn.Layer]]:
        """The steps that are replaced."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: kind for key, kind in values.items() if kind is not None}


def prepare(
    model: paddle.nn.Layer,
    options: QuantOptions,
    *,
    inputs: Sequence[Any] | None = None,
    custom: CustomParts | None = None,
) -> tuple[paddle.nn.Layer, dict[str, Any]]:
    """Swap the model's convolution and linear layers for quantized ones that share their parameters.

    The activation ranges must then be calibrated (`calibrate`), or come with a state that is loaded.

    Args:
        model: changed in place.
        options: what to quantize, and how.
        inputs: what the model takes, as a list of shapes or tensors; `fuse_conv_bn` runs it once. Left out, an image of
            the first convolution's channels is tried.
        custom: classes that replace a step.

    Returns:
        The model and a record: {"kind": "quant", "version": 1, "options", "quantized": names, "skipped": [{"layer",
        "type", "reason"}], "folded": [[convolution, batch norm]], "custom": names of the replaced steps}.

    Raises:
        UserError: nothing can be quantized, a rule matches no layer, or the model is quantized already.
    """
    selection = select(model, options)
    folded = fold.fold_batch_norms(model, inputs) if options.fuse_conv_bn else []
    _swap(model, selection, custom or CustomParts())
    return model, _record(options, selection, folded, custom or CustomParts())


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


def apply_record(
    model: paddle.nn.Layer, record: Mapping[str, Any], *, custom: CustomParts | None = None
) -> paddle.nn.Layer:
    """Rebuild, in place, the structure that a record describes, so that the state saved with it loads strictly.

    Raises:
        UserError: the record is of another kind or version, the model's layers are not those of the record, or the
            user's classes that it was made with are not given.
    """
    if record.get("kind") != "quant" or record.get("version") != 1:
        raise UserError(
            f"not a quantization record of version 1: kind {record.get('kind')!r}, version {record.get('version')!r}"
        )
    custom = custom or CustomParts()
    if sorted(custom.given()) != sorted(record["custom"]):
        raise UserError(f"the record needs the classes {record['custom']}, given were {sorted(custom.given())}")
    selection = select(model, QuantOptions.from_dict(record["options"]))
    if list(selection.chosen) != list(record["quantized"]):
        different = sorted(set(selection.chosen) ^ set(record["quantized"]))
        raise UserError(f"the record's quantized layers are not this model's: {', '.join(different[:5])}")
    fold.fold_pairs(model, [tuple(pair) for pair in record["folded"]])
    _swap(model, selection, custom)
    return model


def _swap(model: paddle.nn.Layer, selection: Selection, custom: CustomParts) -> None:
    found = dict(model.named_sublayers())
    swaps = {id(found[name]): _quantized(name, found[name], own, custom) for name, own in selection.chosen.items()}
    layers.replace(model, swaps)


def _quantized(name: str, layer: paddle.nn.Layer, options: QuantOptions, custom: CustomParts) -> paddle.nn.Layer:
    axis = layers.QUANTIZED[layers.base_type(layer)].channel_axis
    built = {
        "act_quantize": activations.build(name, options),
        "weight_quantize": weights.build(name, options, layer.weight, axis),
        "act_preprocess": activations.build_preprocess(name, options, alone=custom.act_quantize is not None),
        "weight_preprocess": weights.build_preprocess(name, options),
    }
    built |= {key: kind() for key, kind in custom.given().items()}
    other = layers.quantized(layer, layers.Parts(**built))
    if options.bias_correction and other.bias is None:
        layers.add_bias(other)
    return other


def _record(
    options: QuantOptions, selection: Selection, folded: list[tuple[str, str]], custom: CustomParts
) -> dict[str, Any]:
    return {
        "kind": "quant",
        "version": 1,
        "options": options.as_dict(),
        "quantized": list(selection.chosen),
        "skipped": [asdict(item) for item in selection.skipped],
        "folded": [list(pair) for pair in folded],
        "custom": sorted(custom.given()),
    }

"""Float model -> model with fake quantizers, and back; the record that rebuilds the same structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError, cut, shortened
from ppcls_compress.slim import branches
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import fold, foreign, layers, normed
from ppcls_compress.slim.quant.building import CustomParts, quantized_layer
from ppcls_compress.slim.quant.operators import left_to_operators
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.select import Selection, select, uncalled


def prepare(
    model: paddle.nn.Layer,
    options: QuantOptions,
    *,
    inputs: Sequence[Any] | None = None,
    custom: CustomParts | None = None,
    bits: Mapping[str, int] | None = None,
) -> tuple[paddle.nn.Layer, dict[str, Any]]:
    """Swap the model's convolution and linear layers for quantized ones that share their parameters.

    Branches that are deployed as one convolution are merged first; weights that weight_norm or spectral_norm computes
    become parameters.

    The activation ranges must then be calibrated (`calibrate`), or come with a state that is loaded.

    Args:
        model: changed in place.
        options: what to quantize, and how.
        inputs: what the model takes, as a list of shapes or tensors; `fuse_conv_bn` runs it once, `placement: deploy`
            traces it, and layers that it never reaches in evaluation stay float. Left out, images of usual sizes are
            tried, and every layer counts as reached.
        bits: of each layer's weight where a budget was given, as `budget.choose` gives them.
        custom: classes that replace a step; those that the options name are given by `named_classes(options)`.

    Returns:
        The model and a record: {"kind": "quant", "version": 1, "options", "quantized": names, "skipped": [{"layer",
        "type", "reason"}], with `inputs` also a parameter and an operator where no layer computes with it, "merged":
        layers whose branches became one, "folded": [[convolution, batch norm]], "custom": names of the replaced steps};
        if there are any, "normed": layers whose weight a norm computed, and "uncalled": those that no evaluation calls.
        With `placement: deploy` also "places": [{"layer", "side", "non_negative", "readers"}], with a "call" if the
        layer is called more than once, "unlearned": [{"layer", "op"}], the tensors that an integer graph would round
        and that no layer gives by itself, and "calls": which calls of such layers there are.

    Raises:
        UserError: nothing can be quantized, a rule matches no layer, the model is quantized already, or another backend
            cannot quantize it.
        MissingDependencyError: another backend is asked for, and not installed.
    """
    custom = custom or CustomParts()
    if options.placement == "deploy" and "act_quantize" in custom.given():
        raise ConfigError("act_quantize: placement: deploy has quantizers of its own for activations; leave one out")
    for key, name in options.classes().items():
        if key not in custom.given():
            raise ConfigError(f"{key}: {name} is not imported here; give custom=slim.quant.named_classes(options)")
    if options.bits is not None and not bits:
        raise ConfigError("bits: the choice is made from images; give bits=slim.quant.budget.choose(...)")
    _check_dtype(model)
    settings = options.with_bits(bits or {})
    merged = branches.merge(model)
    left = uncalled(model, options, inputs) if inputs is not None and options.backend == "native" else []
    selection = select(model, settings, left)
    if inputs is not None:
        known = {*selection.chosen, *(item.layer for item in selection.skipped)}
        left_float = left_to_operators(model, inputs, known)
        selection = replace(selection, skipped=[*selection.skipped, *left_float])
    plain = _normed(model, selection)
    normed.make_named_plain(model, plain)
    folded = fold.fold_batch_norms(model, inputs) if options.fuse_conv_bn else []
    record = _record(options, selection, merged, folded, custom) | ({"normed": plain} if plain else {})
    record |= {"uncalled": left} if left else {}
    record |= {"bits": dict(bits)} if bits else {}
    if options.placement == "deploy":
        record |= placement.to_record(placement.find(model, record["quantized"], inputs))
    _swap(model, options, selection, custom)
    placement.apply(model, *placement.from_record(record), options)
    return model, record


def check_fits(model: paddle.nn.Layer, options: QuantOptions) -> None:
    """Find out whether options fit a network that is not quantized yet, and leave it as it is.

    Raises:
        UserError: it is of doubles, nothing of it can be quantized, or it is quantized already.
        ConfigError: a rule matches no layer.
    """
    _check_dtype(model)
    select(branches.merged_copy(model, {"steps": []})[0], options)


def _check_dtype(model: paddle.nn.Layer) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dtype == paddle.float64:
            raise UserError(
                f"{name}: is float64, and ranges are learned in float32; model.to(dtype='float32') changes it"
            )


def convert(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """Put the plain float layers back, in place, with the weights as they were trained.

    Raises:
        UserError: the model holds no quantized layer.
    """
    placement.remove(model)
    swaps = {id(layer): layers.plain(layer) for layer in layers.quant_layers(model).values()}
    swaps |= foreign.float_layers(model)
    if not swaps:
        raise UserError(f"{type(model).__name__} holds no quantized layer to convert back")
    layers.replace(model, swaps)
    return model


def fold_step(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a quantization that was converted back leaves in a network, as a step for its record.

    Returns:
        {"kind": "fold", "version": 1, "merged": layers whose branches became one, "folded": [[convolution, batch
        norm]], "biased": layers that were given a bias if they had none, "normed": layers whose weight no norm computes
        any more, if there are any}, or None if the float layers are as they were.
    """
    biased = record["quantized"] if record["options"].get("bias_correction") else []
    left = {"merged": list(record.get("merged", ())), "folded": list(record["folded"]), "biased": list(biased)}
    left |= {"normed": list(record["normed"])} if "normed" in record else {}
    return {"kind": "fold", "version": 1, **left} if any(left.values()) else None


def apply_fold(model: paddle.nn.Layer, step: Mapping[str, Any]) -> paddle.nn.Layer:
    """Rebuild, in place, the structure that a step of `fold_step` describes.

    Raises:
        UserError: the model has no layer of a name.
    """
    branches.merge_named(model, step.get("merged", ()))
    normed.make_named_plain(model, step.get("normed", ()))
    fold.fold_pairs(model, [tuple(pair) for pair in step["folded"]])
    found = dict(model.named_sublayers())
    for name in step["biased"]:
        if name not in found:
            raise UserError(f"the record names a layer that this model does not have: {name}")
        if found[name].bias is None:
            layers.add_bias(found[name])
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
        kind, version = shortened(record.get("kind")), shortened(record.get("version"))
        raise UserError(f"not a quantization record of version 1: kind {kind}, version {version}")
    custom = custom or CustomParts()
    if sorted(custom.given()) != sorted(record["custom"]):
        raise UserError(f"the record needs the classes {record['custom']}, given were {sorted(custom.given())}")
    options = QuantOptions.from_dict(record["options"])
    branches.merge_named(model, record.get("merged", ()))
    selection = select(model, options.with_bits(record.get("bits", {})), record.get("uncalled", ()))
    if list(selection.chosen) != list(record["quantized"]):
        different = sorted(set(selection.chosen) ^ set(record["quantized"]))
        raise UserError(f"the record's quantized layers are not this model's: {cut(', '.join(different[:5]), 300)}")
    normed.make_named_plain(model, record.get("normed", ()))
    fold.fold_pairs(model, [tuple(pair) for pair in record["folded"]])
    _swap(model, options, selection, custom)
    placement.apply(model, *placement.from_record(record), options)
    return model


def _swap(model: paddle.nn.Layer, options: QuantOptions, selection: Selection, custom: CustomParts) -> None:
    if options.backend != "native":
        foreign.BACKENDS.get(options.backend)(model, options, selection.chosen, custom)
        return
    found = dict(model.named_sublayers())
    layers.replace(
        model,
        {
            id(found[name]): quantized_layer(name, found[name], own, custom.instances())
            for name, own in selection.chosen.items()
        },
    )
    next(iter(layers.quant_layers(model).values())).speaks = True


def _normed(model: paddle.nn.Layer, selection: Selection) -> list[str]:
    """The layers to be quantized whose weight a norm computes."""
    found = dict(model.named_sublayers())
    return [name for name in selection.chosen if normed.is_normed(found[name])]


def _record(
    options: QuantOptions,
    selection: Selection,
    merged: list[str],
    folded: list[tuple[str, str]],
    custom: CustomParts,
) -> dict[str, Any]:
    return {
        "kind": "quant",
        "version": 1,
        "options": options.as_dict(),
        "quantized": list(selection.chosen),
        "skipped": [asdict(item) for item in selection.skipped],
        "merged": merged,
        "folded": [list(pair) for pair in folded],
        "custom": sorted(custom.given()),
    }

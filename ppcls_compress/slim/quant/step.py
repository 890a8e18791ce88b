"""Quantization as a step of the `Slim` section."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

import paddle

from ppcls_compress.errors import UserError, shortened
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options.bits import FLOAT
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant.budget.choose import choose
from ppcls_compress.slim.quant.building import CustomParts, named_classes
from ppcls_compress.slim.quant.calibrate import calibrate, free_grids, lopsided, try_out, untrained_statistics
from ppcls_compress.slim.quant.layers import quant_layers
from ppcls_compress.slim.quant.monitor import frozen_from
from ppcls_compress.slim.quant.prepare import apply_record, check_fits, convert, fold_step, prepare
from ppcls_compress.slim.record import Record
from ppcls_compress.slim.steps import Context, Step, section_named, some, with_step

_WEIGHED_BATCHES = 2
"""Of calibration, that the bits of layers are chosen by."""


def _check(options: QuantOptions, record: Record, context: Context) -> None:
    if context.batches is None:
        raise UserError("Slim.quant: quantization needs calibration batches; train first, or give a data loader")


def _foresee(model: paddle.nn.Layer, options: QuantOptions, record: Record, context: Context) -> Context:
    """What would be refused after the steps before: options that do not fit, no batch, or none that the model takes."""
    _check(options, record, context)
    with section_named("Slim.quant"):
        named_classes(options)
        check_fits(model, options)
    if options.backend != "native":  # another library finds its ranges in training
        return context
    key = "batches" if context.calibration is None else "calibration"
    give = getattr(context, key)
    waiting = iter(give())
    looked_at = list(itertools.islice(waiting, 1))
    try_out(model, looked_at)
    first = iter([itertools.chain(looked_at, waiting)])  # the batch is not lost to who reads next
    return replace(context, **{key: lambda: next(first, None) or give()})


def _take(
    model: paddle.nn.Layer, options: QuantOptions, inputs: Inputs, record: Record, context: Context
) -> tuple[paddle.nn.Layer, Record]:
    batches = context.calibration or context.batches
    if context.epochs is not None and options.name != "ptq" and options.freeze_bn_epoch is None:
        known = context.settled and not untrained_statistics(model)
        since = frozen_from(options, context.epochs, gentle=context.gentle, known=known)
        options = replace(options, freeze_bn_epoch=since)
    with section_named("Slim.quant"):
        custom, bits = named_classes(options), None
        if options.bits is not None:
            looked_at = list(itertools.islice(batches(), _WEIGHED_BATCHES))
            bits = choose(model, options, looked_at, inputs=inputs, custom=custom, shown=context.shown)
        model, step = prepare(model, options, inputs=inputs, custom=custom, bits=bits)
    rounded = calibrate(
        model,
        itertools.islice(batches(), context.calibration_batches),
        reconstruction=options.reconstruction,
        shown=context.shown,
    )
    if rounded:
        step["reconstructed"] = [asdict(item) for item in rounded]
    if free := free_grids(model):
        step["free"] = free
    if options.asymmetric is False and options.unsigned is not False and (found := lopsided(model)):
        step["lopsided"] = found
    return model, with_step(record, step)


def _misfit(model: paddle.nn.Layer, record: Record) -> str | None:
    inner = model._layers if isinstance(model, paddle.DataParallel) else model
    here = quant_layers(inner)  # another library may leave out what it was told to quantize
    for step in STEP.of(record) if here else ():
        told = [name.removeprefix("_layers.") for name in step["quantized"]]
        for name in [*told, *here]:
            if name not in here:
                return f"{shortened(name)} is not quantized here, as the record says"
            if name not in told:
                return f"{shortened(name)} is quantized here, the record does not say so"
    return None


def _rebuild(model: paddle.nn.Layer, step: Record, custom: CustomParts | None) -> paddle.nn.Layer:
    return apply_record(model, step, custom=custom)


def _drop(model: paddle.nn.Layer, step: Record) -> tuple[paddle.nn.Layer, Record | None, str]:
    """The float network; branches that were merged and batch norms that were folded stay so, and a `fold` tells."""
    merged = ", branches stay merged" if step.get("merged") else ""
    folded = ", batch norms stay folded" if step["folded"] else ""
    note = f"quantization in the weights is not asked for: dropped, float weights kept{merged}{folded}"
    return convert(model), fold_step(step), note


def _describe(step: Record) -> list[str]:
    options = step["options"]
    bits = f"{options['weight_bits']}-bit weights, {options['activation_bits']}-bit activations"
    skipped = [f"  not quantized: {skip['layer']} ({skip['type']}: {skip['reason']})" for skip in step["skipped"]]
    layers = step["quantized"]
    names = ", ".join(layers if len(layers) <= _NAMED else [*layers[:_NAMED], "..."])
    places = (
        [f"{len(step['places'])} tensors are rounded in training as in an integer graph"] if "places" in step else []
    )
    unlearned = [
        f"  not rounded, in training or when exported: {item['op']} in {item['layer'] or 'the network'}, "
        "which no layer gives by itself"
        for item in step.get("unlearned", ())
    ]
    first = f"quantized by {options['name']}, {bits}: {len(step['quantized'])} layers: {names}"
    merged = step.get("merged", ())
    branches = [f"branches merged into one convolution first: {', '.join(merged)}"] if merged else []
    normed = step.get("normed", ())
    plain = [f"  weights that a norm computed are parameters now: {', '.join(normed)}"] if normed else []
    told = [*some(unlearned), *_lopsided(step), *_free(step), *_still(options), *_bits(step), *_reconstructed(step)]
    return [*branches, first, *some(skipped), *plain, *places, *told]


def _lopsided(step: Record) -> list[str]:
    found = step.get("lopsided", ())
    if not found:
        return []
    names = ", ".join(found if len(found) <= _NAMED else [*found[:_NAMED], f"... ({len(found)} layers)"])
    return [
        f"  what {names} read lies mostly on one side of zero and is rounded on both: asymmetric: auto gives it finer "
        "steps, and depthwise_ranges: channel what depthwise convolutions read"
    ]


def _free(step: Record) -> list[str]:
    """What formats cannot hold, while training can still be told so."""
    free, training = step.get("free", 0), step["options"]["name"] != "ptq"
    if not free or not training:
        return []
    return [
        f"  {free} tensors have a zero point of their own or a range per channel, which ONNX Runtime, OpenVINO and "
        "Paddle take; for TensorRT, RKNN and Paddle Lite, which do not, train with asymmetric: false, unsigned: false"
    ]


def _still(options: Record) -> list[str]:
    since = options.get("freeze_bn_epoch")
    told = isinstance(since, int)
    return [f"  batch norms keep their statistics from epoch {since} on (freeze_bn_epoch)"] if told else []


def _bits(step: Record) -> list[str]:
    groups: dict[int, list[str]] = {}
    for name, bits in step.get("bits", {}).items():
        groups.setdefault(bits, []).append(name)
    return [
        f"  weights {'in float' if bits == FLOAT else f'on {bits} bits'}: {', '.join(names)}"
        for bits, names in sorted(groups.items())
    ]


def _reconstructed(step: Record) -> list[str]:
    rows = step.get("reconstructed", ())
    if not rows:
        return []
    means = [100 * sum(row[key] for row in rows) / len(rows) for key in ("nearest", "learned")]
    return [
        f"weights of {len(rows)} layers rounded by what they do to the output: its error is {means[1]:.2g}% of its "
        f"power on average, with the nearest levels {means[0]:.2g}%"
    ]


_NAMED = 6


STEP = Step(
    kind="quant",
    verb="quantize",
    done="quantized",
    take=_take,
    rebuild=_rebuild,
    describe=_describe,
    misfit=_misfit,
    check=_check,
    foresee=_foresee,
    drop=_drop,
    silent=lambda options: options.silent,
    training=frozenset({"alpha_learning_rate", "alpha_weight_decay", "freeze_bn_epoch", "observer_epochs"}),
)

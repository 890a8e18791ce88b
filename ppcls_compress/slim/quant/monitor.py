"""What training does to the quantizers: ranges and clip rates; and what an epoch freezes."""

from __future__ import annotations

from typing import Any

import paddle

from ppcls_compress.slim.options.quant import FEW_BITS, QuantOptions
from ppcls_compress.slim.quant.fold import NORMS
from ppcls_compress.slim.quant.foreign import counterparts
from ppcls_compress.slim.quant.layers import quant_layers
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.placement.calls import ByCall
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer, CountsClipped, Quantizer
from ppcls_compress.slim.quant.quantizers.channelwise import Channelwise


def statistics(model: paddle.nn.Layer, reset: bool = True) -> list[dict[str, Any]]:
    """One row per quantized layer, then one per rounded output, for the log of an epoch.

    What a layer that is called more than once reads in each call has a row as a rounded output has.

    Args:
        model: prepared and calibrated.
        reset: start counting clipped values anew.

    Returns:
        Rows of layer, weight_bits, activation_bits, unsigned, limit (the largest value of the input's grid; None when
        it is found for each batch), alpha (the trained range; None without one), clip_rate (fraction of the inputs
        clipped in training since the last reset, from the first sample of each batch; None without a trained range, or
        before training), weight_alpha and weight_clip_rate (the same of a clip of the weights). What a class of the
        user's own does reads None.
    """
    found = quant_layers(model) | counterparts(model)
    rows = [_row(name, layer, reset) for name, layer in found.items()]
    apart = [layer._fake_quant_input for layer in found.values() if isinstance(layer._fake_quant_input, ByCall)]
    apart += map(placement.quantizer_of, placement.outputs(model).values())
    single = [quantizer for part in apart for quantizer in placement.quantizers(part)]
    return rows + [_activation_columns(quantizer.layer_name, quantizer, None, reset) for quantizer in single]


def _row(name: str, layer: paddle.nn.Layer, reset: bool) -> dict[str, Any]:
    inputs, before = layer._fake_quant_input, layer._act_preprocess
    columns = _activation_columns(name, inputs, before, reset)
    weight_alpha, weight_clip_rate = _alpha(layer._weight_preprocess, reset)
    return {
        **columns,
        "weight_bits": getattr(layer._fake_quant_weight, "bits", None),
        "weight_alpha": weight_alpha,
        "weight_clip_rate": weight_clip_rate,
    }


def _activation_columns(
    name: str, inputs: paddle.nn.Layer, before: paddle.nn.Layer | None, reset: bool
) -> dict[str, Any]:
    known = isinstance(inputs, ActivationQuantizer) and not isinstance(inputs, ByCall)
    alpha, clip_rate = _alpha(before if isinstance(before, CountsClipped) else inputs, reset)
    return {
        "layer": name,
        "weight_bits": None,
        "activation_bits": inputs.bits if known else None,
        "unsigned": inputs.unsigned if known else None,
        "limit": inputs.limit() if known else None,
        "alpha": alpha,
        "clip_rate": clip_rate,
        "weight_alpha": None,
        "weight_clip_rate": None,
    }


def _alpha(part: paddle.nn.Layer | None, reset: bool) -> tuple[float | None, float | None]:
    """A trained range, and how much it clipped."""
    part = part.whole if isinstance(part, Channelwise) else part
    return (part.range(), part.clip_rate(reset)) if isinstance(part, CountsClipped) else (None, None)


def learned_parameters(model: paddle.nn.Layer) -> list[paddle.Tensor]:
    """The ranges and step sizes that gradient descent trains. Their rate and L2 decay are set on the parameters.

    `optimize_attr["learning_rate"]` and `regularizer` hold them, and Paddle's optimizers apply both; only AdamW decays
    every parameter that its `apply_decay_param_fun` does not leave out.
    """
    parts = _parts(model)
    return [parameter for part in parts for parameter in part.parameters(include_sublayers=False)]


def _parts(model: paddle.nn.Layer) -> list[paddle.nn.Layer]:
    """The quantizers and preprocessing layers of a model, with the layers in them."""
    parts = [part for layer in quant_layers(model).values() for part in layer.parts()]
    parts += [placement.quantizer_of(layer) for layer in placement.outputs(model).values()]
    return [inner for part in parts for inner in part.sublayers(include_self=True)]


def start_epoch(model: paddle.nn.Layer, options: QuantOptions, epoch: int) -> None:
    """Freeze what the options freeze by this epoch; call it after `model.train()`.

    Args:
        model: prepared.
        options: `freeze_bn_epoch` and `observer_epochs` are looked at.
        epoch: counted from 1.
    """
    if options.observer_epochs is not None:
        freeze_observers(model, epoch > options.observer_epochs)
    # Nothing is set free here: a network may keep batch norms frozen of its own accord.
    if isinstance(options.freeze_bn_epoch, int) and epoch >= options.freeze_bn_epoch:
        freeze_batch_norms(model)


def frozen_from(options: QuantOptions, epochs: int, *, gentle: bool = True, known: bool) -> int | None:
    """The epoch from which batch norms keep their statistics where the options say nothing of it.

    A short fine-tuning has too few images, and often others than those that the network was made from, to know the
    statistics better; a longer one lets them follow the rounding for its first half. At larger learning rates nothing
    but moving statistics keeps activations within bounds, and few bits change too much what they are of: there batch
    norms move to the end.

    Args:
        options: of the quantization.
        epochs: of the whole training.
        gentle: whether the learning rate is small in all of them.
        known: whether the statistics of all batch norms are of this network: it was trained, and not pruned since.

    Returns:
        The middle epoch, the first of a training of up to three, the second at least if statistics are not known yet;
        None where batch norms move to the end: at a large learning rate, on up to 4 bits, or as PaddleSlim has it.
    """
    few = options.bits is not None or min(options.weight_bits, options.activation_bits) <= FEW_BITS
    if few or options.compat or options.backend != "native" or options.fuse_conv_bn or not gentle:
        return None
    return max(epochs // 2, 1 if known else 2)


def freeze_observers(model: paddle.nn.Layer, frozen: bool = True) -> None:
    """Keep the observed ranges as they are in training, or let them follow the data again."""
    for part in _parts(model):
        if isinstance(part, Quantizer) and hasattr(part, "observing"):
            part.observing = not frozen


def freeze_batch_norms(model: paddle.nn.Layer, frozen: bool = True) -> None:
    """Let batch norms use and keep their running statistics in training, or the batch's again."""
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, (*NORMS, paddle.nn.BatchNorm1D)):
            layer._use_global_stats = True if frozen else None
        if isinstance(layer, paddle.nn.SyncBatchNorm):  # asks for the mode alone
            layer.training = not frozen

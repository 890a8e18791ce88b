"""What training does to the quantizers: ranges, clip rates, values that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim.quant.layers import quant_layers


def statistics(model: paddle.nn.Layer, reset: bool = True) -> list[dict[str, Any]]:
    """One row per quantized layer, for the log of an epoch.

    Args:
        model: prepared and calibrated.
        reset: start counting clipped values anew.

    Returns:
        Rows of layer, weight_bits, activation_bits, unsigned, limit (the range in use; None when it is found for each
        batch), alpha and clip_rate (fraction of the inputs clipped in training since the last reset, from the first
        sample of each batch; None without a learned range, or before training).
    """
    return [_row(name, layer, reset) for name, layer in quant_layers(model).items()]


def _row(name: str, layer: paddle.nn.Layer, reset: bool) -> dict[str, Any]:
    inputs = layer._fake_quant_input
    learned = inputs.learned
    return {
        "layer": name,
        "weight_bits": layer._fake_quant_weight.bits,
        "activation_bits": inputs.bits,
        "unsigned": inputs.unsigned,
        "limit": inputs.limit(),
        "alpha": None if learned is None else learned.item(),
        "clip_rate": None if learned is None else inputs.clip_rate(reset),
    }


def learned_parameters(model: paddle.nn.Layer) -> list[paddle.Tensor]:
    """The ranges that gradient descent trains. Their learning-rate factor and L2 decay are set on the parameters.

    `optimize_attr["learning_rate"]` and `regularizer` hold them, and Paddle's optimizers apply both; only AdamW decays
    every parameter that its `apply_decay_param_fun` does not leave out.
    """
    found = (layer._fake_quant_input.learned for layer in quant_layers(model).values())
    return [parameter for parameter in found if parameter is not None]


def not_finite(model: paddle.nn.Layer) -> list[str]:
    """Names of the layers with a parameter or buffer that is NaN or infinite, in the order of the network."""
    names = []
    for name, layer in model.named_sublayers(include_self=True):
        own = [*layer._parameters.values(), *layer._buffers.values()]
        if any(tensor is not None and not np.isfinite(tensor.astype("float32").numpy()).all() for tensor in own):
            names.append(name or type(layer).__name__)
    return names

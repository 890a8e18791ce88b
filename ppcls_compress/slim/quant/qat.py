"""`QAT` under PaddleSlim's name, with its arguments and configuration keys."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant.prepare import prepare

_DEFAULTS: dict[str, Any] = {
    "activation_preprocess_type": None,
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "dtype": "int8",
    "moving_rate": 0.9,
    "quantizable_layer_type": ["Conv2D", "Linear"],
}


class QAT:
    """Quantization-aware training.

    Args:
        config: PaddleSlim's keys; what is left out keeps PaddleSlim's value.

    Raises:
        ConfigError: a key or value that does not exist.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = dict(config or {})
        for key in config:
            if key not in _DEFAULTS:
                raise ConfigError(f"config: {unknown('key', key, _DEFAULTS)}")
        self.config = {**_DEFAULTS, **config}
        self.options = _options(self.config)

    def quantize(self, model: paddle.nn.Layer, inplace: bool = True) -> paddle.nn.Layer:
        """Swap the model's layers for quantized ones; `inplace=False` works on a copy."""
        if not isinstance(model, paddle.nn.Layer):
            raise UserError(f"model: a paddle.nn.Layer is needed, found {type(model).__name__}")
        quantized, _ = prepare(model if inplace else copy.deepcopy(model), self.options)
        return quantized


def _options(config: Mapping[str, Any]) -> QuantOptions:
    shared = {key: config[key] for key in ("weight_quantize_type", "weight_bits", "activation_bits", "dtype")}
    shared["quantizable_layer_type"] = tuple(config["quantizable_layer_type"])
    if config["activation_preprocess_type"] not in (None, "PACT"):
        raise ConfigError(
            f"activation_preprocess_type: {unknown('value', config['activation_preprocess_type'], ['PACT'])}"
        )
    if config["activation_preprocess_type"] == "PACT":
        return QuantOptions(name="pact", grid="moving_average", moving_rate=config["moving_rate"], **shared)
    kind = config["activation_quantize_type"]
    rate = config["moving_rate"] if "moving_average_abs_max" in (kind, config["weight_quantize_type"]) else None
    return QuantOptions(name="qat", activation_quantize_type=kind, moving_rate=rate, **shared)

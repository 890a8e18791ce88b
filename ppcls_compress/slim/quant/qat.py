"""`QAT` under PaddleSlim's name, with its arguments and configuration keys."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant.building import CustomParts
from ppcls_compress.slim.quant.inference import to_inference
from ppcls_compress.slim.quant.prepare import prepare
from ppcls_compress.slim.tracing import save_program

_DEFAULTS: dict[str, Any] = {
    "weight_preprocess_type": None,
    "activation_preprocess_type": None,
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "dtype": "int8",
    "window_size": 10000,
    "moving_rate": 0.9,
    "quantizable_layer_type": ["Conv2D", "Linear"],
    "fuse_conv_bn": False,
    "onnx_format": True,
}
_SHARED = ("weight_preprocess_type", "weight_quantize_type", "weight_bits", "activation_bits", "dtype", "fuse_conv_bn")


class QAT:
    """Quantization-aware training with PaddleSlim's arguments and defaults.

    PACT differs in one thing: alpha is calibrated, from the first training batch unless `slim.quant.calibrate` was
    called, where PaddleSlim starts at 100 and learns 1000 times as fast. The key `compat: paddleslim` has that back.

    Args:
        config: PaddleSlim's keys; what is left out keeps PaddleSlim's value.
        weight_preprocess: a layer class in place of `weight_preprocess_type`.
        act_preprocess: a layer class in place of `activation_preprocess_type`.
        weight_quantize: a layer class in place of `weight_quantize_type`.
        act_quantize: a layer class in place of `activation_quantize_type`.

    Raises:
        UserError: a key or value that does not exist, or something that is not a layer class.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        weight_preprocess: type[paddle.nn.Layer] | None = None,
        act_preprocess: type[paddle.nn.Layer] | None = None,
        weight_quantize: type[paddle.nn.Layer] | None = None,
        act_quantize: type[paddle.nn.Layer] | None = None,
    ) -> None:
        given = dict(config or {})
        compat = given.pop("compat", None)
        for key in given:
            if key not in _DEFAULTS:
                raise ConfigError(f"config: {unknown('key', key, _DEFAULTS)}")
        self.config = {**_DEFAULTS, **given}
        self.custom = CustomParts(weight_preprocess, act_preprocess, weight_quantize, act_quantize)
        self.options = _options(self.config, self.custom, compat)

    def quantize(
        self, model: paddle.nn.Layer, inplace: bool = True, *, inputs: Sequence[Any] | None = None
    ) -> paddle.nn.Layer:
        """Swap the model's layers for quantized ones.

        Args:
            model: the float model.
            inplace: False works on a copy.
            inputs: shapes that the model takes; `fuse_conv_bn` runs it once.
        """
        if not isinstance(model, paddle.nn.Layer):
            raise UserError(f"model: a paddle.nn.Layer is needed, found {type(model).__name__}")
        model = model if inplace else copy.deepcopy(model)
        return prepare(model, self.options, inputs=inputs, custom=self.custom)[0]

    def save_quantized_model(self, model: paddle.nn.Layer, path: str, input_spec: Sequence[Any] | None = None) -> None:
        """Write a Paddle Inference model, `<path>.json` and `<path>.pdiparams`, that computes what the model does.

        Args:
            model: what `quantize` returned, trained.
            path: folder and file prefix.
            input_spec: InputSpecs or example tensors.
        """
        save_program(to_inference(model, integers=self.config["onnx_format"]), path, input_spec)


def _options(config: Mapping[str, Any], custom: CustomParts, compat: str | None) -> QuantOptions:
    for key, allowed in (("weight_preprocess_type", ("PACT",)), ("activation_preprocess_type", ("PACT",))):
        if config[key] not in (None, *allowed):
            raise ConfigError(f"{key}: {unknown('value', config[key], allowed)}")
    clipping = config["activation_preprocess_type"] == "PACT" and custom.act_preprocess is None
    kinds = (config["activation_quantize_type"], config["weight_quantize_type"])
    return QuantOptions(
        name="pact" if clipping else "qat",
        compat=compat,
        activation_quantize_type=config["activation_quantize_type"],
        moving_rate=config["moving_rate"] if "moving_average_abs_max" in kinds else None,
        window_size=config["window_size"] if "range_abs_max" in kinds else None,
        quantizable_layer_type=config["quantizable_layer_type"],
        onnx_format=config["onnx_format"],
        **{key: config[key] for key in _SHARED},
    )

"""`QAT` under PaddleSlim's name, with its arguments and configuration keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.quant import CLASSES, QuantOptions
from ppcls_compress.slim.options.quant_numbers import check_number
from ppcls_compress.slim.quant.building import CustomParts
from ppcls_compress.slim.quant.inference import to_inference
from ppcls_compress.slim.quant.prepare import prepare
from ppcls_compress.slim.strays import refuse_strays
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
# PaddleSlim takes both with every type, and so does a configuration that was written for it.
_WITHOUT_EFFECT = ("moving_rate", "window_size")
_BY_EPOCH = {"freeze_bn_epoch": "freeze_batch_norms(model)", "observer_epochs": "freeze_observers(model)"}


class QAT:
    """Quantization-aware training with PaddleSlim's arguments and defaults.

    Clip and grid of PACT are PaddleSlim's: two-sided (unless `unsigned` says otherwise), then the moving average; with
    another `grid`, `name` or `placement` inputs are what they are from YAML. Alpha differs, because PaddleSlim's
    start of 100 clips nothing:

    - it is calibrated, from the first training batch unless `slim.quant.calibrate` was called; there it starts at 100;
    - the parameter is its logarithm, learned at the optimizer's rate; there it is alpha, at 1000 times that rate;
    - it moves by at most a tenth per step; there by any amount, below zero too;
    - it decays by `alpha_weight_decay`; there as the optimizer's weight decay says;
    - its gradient is that of the clip, which counts values equal to alpha; there of four operations, which do not;
    - evaluation clips and rounds on the smaller of alpha and the moving average; there on one after the other;
    - the moving average starts from the batches that alpha is calibrated from; there from 0.001.

    `compat: paddleslim` removes all of these differences. Without PACT there are none, unless the moving average starts
    from `slim.quant.calibrate`.

    Args:
        config: PaddleSlim's keys, what is left out keeping PaddleSlim's value, and those of `QuantOptions` (`name`,
            `grid`, `skip`, `per_layer`, ...). `name` follows from `activation_preprocess_type` if it is left out, and
            `observed_range` is `largest`, whatever the bits, `asymmetric` false and `depthwise_ranges` `tensor`.
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
        given = {} if config is None else config
        _check_keys(given)
        self.config = {**_DEFAULTS, **given}
        self.custom = CustomParts(weight_preprocess, act_preprocess, weight_quantize, act_quantize)
        self.options = _options(given, self.custom)

    def quantize(
        self, model: paddle.nn.Layer, inplace: bool = True, *, inputs: Sequence[Any] | None = None
    ) -> paddle.nn.Layer:
        """Swap the model's layers for quantized ones.

        Args:
            model: the float model.
            inplace: False works on a copy.
            inputs: shapes that the model takes; `fuse_conv_bn` runs it once, `placement: deploy` traces it.

        Raises:
            UserError: it is no `paddle.nn.Layer`, or cannot be quantized so; see `slim.quant.prepare`. Its forward pass
                on `inputs` reads weights of layers in a plain list; without `inputs` such layers are warned of.
        """
        refuse_strays(model, inputs)
        model = model if inplace else copied(model)
        return prepare(model, self.options, inputs=inputs, custom=self.custom)[0]

    def save_quantized_model(self, model: paddle.nn.Layer, path: str, input_spec: Sequence[Any] | None = None) -> None:
        """Write a Paddle Inference model, `<path>.json` and `<path>.pdiparams`, that computes what the model does.

        Args:
            model: what `quantize` returned, trained.
            path: folder and file prefix.
            input_spec: InputSpecs or example tensors; None for a network that has them from `paddle.jit.to_static`.

        Raises:
            UserError: it cannot be traced, or `input_spec` is needed.
        """
        save_program(to_inference(model, integers=self.options.onnx_format), path, input_spec)


def _check_keys(given: object) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"config: a dictionary of keys is needed, found {given!r}")
    known = {field.name for field in fields(QuantOptions)}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"config: {unknown('key', key, known)}")
        if key in CLASSES:
            raise ConfigError(f"{key}: QAT takes the class itself, as an argument beside config")
        if value is None and _DEFAULTS.get(key) is not None:
            raise ConfigError(f"{key}: None is no value of it; leave it out for {_DEFAULTS[key]!r}")
        if key in _BY_EPOCH and value is not None:
            raise ConfigError(f"{key}: QAT does not see the epochs; call slim.quant.{_BY_EPOCH[key]} when it is time")
        if key in _WITHOUT_EFFECT:
            check_number(key, value)
    if given.get("name") == "ptq":
        raise ConfigError("name: ptq needs no training, which is what QAT is for; use PTQ")


def _options(given: Mapping[str, Any], custom: CustomParts) -> QuantOptions:
    values = {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT and value is not None}
    if custom.act_preprocess is not None:
        values.pop("activation_preprocess_type", None)
    values.setdefault("name", "pact" if values.get("activation_preprocess_type") == "PACT" else "qat")
    # What PaddleSlim does after its clip, unless something else is asked for.
    if values["name"] == "pact" and not values.keys() & {"grid", "activation_quantize_type", "placement"}:
        values["grid"] = "moving_average"
    options = QuantOptions(**values).as_paddleslim()
    effective = (key for key in _WITHOUT_EFFECT if key in given and getattr(options, key) is not None)
    # PaddleSlim's clip has two sides, whatever the data says; other methods find out, as from YAML.
    upstream = options.name == "pact" and options.grid == "moving_average" and options.unsigned is not None
    two_sided = {"unsigned": False} if upstream and "unsigned" not in given else {}
    return replace(options, **{key: given[key] for key in effective}, **two_sided)

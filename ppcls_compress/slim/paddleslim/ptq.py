"""`PTQ` under PaddleSlim's name: quantization after training, from forward passes that the user runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.quant import CLASSES, QuantOptions
from ppcls_compress.slim.quant import fold, layers
from ppcls_compress.slim.quant.calibrate import Observation, required_quant_layers
from ppcls_compress.slim.quant.images import image_shape
from ppcls_compress.slim.quant.inference import to_inference
from ppcls_compress.slim.quant.prepare import prepare
from ppcls_compress.slim.strays import refuse_strays
from ppcls_compress.slim.tracing import save_program

_SET_APART = ("name", "activation_quantizer", "weight_quantizer", "fuse_conv_bn", *CLASSES)
_ARGUMENTS = {field.name for field in fields(QuantOptions)} - {*_SET_APART} | {"quant_bits"}


class PTQ:
    """Post-training quantization with PaddleSlim's arguments and defaults.

        ptq = PTQ()
        model = ptq.quantize(model)
        for images in batches:          # in float, observed
            model(images)
        ptq.save_quantized_model(model, path, input_spec)

    Args:
        activation_quantizer: KLQuantizer, HistQuantizer or AbsmaxQuantizer; PercentileQuantizer too.
        weight_quantizer: PerChannelAbsmaxQuantizer or AbsmaxQuantizer.
        **kwargs: arguments of the activation quantizer: quant_bits (or activation_bits), bins, upsample_bins,
            hist_percent, percentile; and what else `QuantOptions` has for `ptq`, such as weight_bits, skip, per_layer.

    Raises:
        UserError: a name or argument that does not exist.
    """

    def __init__(
        self,
        activation_quantizer: str = "KLQuantizer",
        weight_quantizer: str = "PerChannelAbsmaxQuantizer",
        **kwargs: Any,
    ) -> None:
        _check_arguments(activation_quantizer, kwargs)
        bits = {"activation_bits": kwargs.pop("quant_bits")} if "quant_bits" in kwargs else {}
        self.options = QuantOptions(
            name="ptq",
            activation_quantizer=activation_quantizer,
            weight_quantizer=weight_quantizer,
            fuse_conv_bn=False,
            **{**bits, "bias_correction": False, "asymmetric": False, "depthwise_ranges": "tensor", **kwargs},
        )
        # By id(model); the model itself is kept beside, so that no other can take its id.
        self._observations: dict[int, tuple[paddle.nn.Layer, Observation, list[Any]]] = {}

    def quantize(
        self,
        model: paddle.nn.Layer,
        inplace: bool = False,
        fuse: bool = False,
        fuse_list: Sequence[Sequence[str]] | None = None,
        *,
        inputs: Sequence[Any] | None = None,
    ) -> paddle.nn.Layer:
        """Prepare a model and observe its forward passes from now on; it computes in float until `convert`.

        Args:
            model: the float model.
            inplace: False works on a copy.
            fuse: fold batch norms into the convolutions before them.
            fuse_list: names, [[convolution, batch norm], ...]; all that can be found when left out.
            inputs: shapes that the model takes; `fuse` without a list runs it once. Left out, images of usual sizes are
                tried, and if the model takes none, batch norms are folded when it sees its first batch.

        Raises:
            UserError: nothing can be quantized, a pair of `fuse_list` cannot be folded, or the forward pass on `inputs`
                reads weights of layers in a plain list; without `inputs` such layers are warned of.
        """
        refuse_strays(model, inputs)
        model = model if inplace else copied(model)
        later = fuse and fuse_list is None and inputs is None and not _takes_images(model)
        if fuse and fuse_list is not None:
            _fold_list(model, fuse_list)
        elif fuse and not later:
            fold.fold_batch_norms(model, inputs)
        model, _ = prepare(model, self.options)
        found = layers.quant_layers(model)
        for layer in found.values():
            layer.quantizing = False
        observation = Observation(found)
        hooks = _fold_and_observe(model, observation) if later else observation.attach()
        self._observations[id(model)] = (model, observation, hooks)
        return model

    def convert(self, model: paddle.nn.Layer) -> paddle.nn.Layer:
        """End the observation, in place: the model then computes on the grids that were found.

        Raises:
            UserError: the model is not from `quantize`, or saw no data.
        """
        if id(model) in self._observations:
            _, observation, hooks = self._observations[id(model)]
            observation.finish()
            for hook in hooks:
                hook.remove()
            del self._observations[id(model)]
        for layer in required_quant_layers(model).values():
            layer.quantizing = True
        return model

    def save_quantized_model(self, model: paddle.nn.Layer, path: str, input_spec: Sequence[Any] | None = None) -> None:
        """Convert the model and write a Paddle Inference model, `<path>.json` and `<path>.pdiparams`.

        Args:
            model: what `quantize` returned, after forward passes.
            path: folder and file prefix.
            input_spec: InputSpecs or example tensors; None for a network that has them from `paddle.jit.to_static`.

        Raises:
            UserError: it cannot be traced, or `input_spec` is needed.
        """
        save_program(to_inference(self.convert(model), integers=self.options.onnx_format), path, input_spec)


def _check_arguments(activation_quantizer: str, given: Mapping[str, Any]) -> None:
    for key in given:
        if key == "fuse_conv_bn":
            raise ConfigError("fuse_conv_bn: an argument of its own says so: quantize(model, fuse=True)")
        if key not in _ARGUMENTS:
            raise ConfigError(unknown(f"argument of {activation_quantizer}", key, _ARGUMENTS))
    if "quant_bits" in given and "activation_bits" in given:
        raise ConfigError("quant_bits: is the same as activation_bits; leave one out")
    for key in ("bias_correction", "reconstruction"):
        if given.get(key):
            raise ConfigError(
                f"{key}: needs the batches twice, and PTQ sees them once; use slim.quant.prepare and calibrate, or "
                "ppcls-compress quantize"
            )
    if given.get("placement") == "deploy":
        raise ConfigError(
            "placement: PTQ rounds what layers read; for deploy use slim.quant.prepare and calibrate, or "
            "ppcls-compress quantize"
        )


def _takes_images(model: paddle.nn.Layer) -> bool:
    try:
        image_shape(model)
    except UserError:
        return False
    return True


def _fold_and_observe(model: paddle.nn.Layer, observation: Observation) -> list[Any]:
    """Fold batch norms when the model is called first, on what it is called with, and observe from then on.

    Returns:
        Hooks, those of the observation once there are some.
    """

    def fold_first(_: paddle.nn.Layer, given: tuple, named: dict[str, Any]) -> None:
        hooks.pop().remove()
        fold.fold_running(model, lambda: model(*given, **named), f"the first batch, {describing.told([*given, named])}")
        hooks.extend(observation.attach())

    hooks = [model.register_forward_pre_hook(fold_first, with_kwargs=True)]
    return hooks


def _fold_list(model: paddle.nn.Layer, pairs: object) -> None:
    if not isinstance(pairs, list | tuple):
        raise UserError(f"fuse_list: a list of [convolution, batch norm] is needed, found {pairs!r}")
    try:
        fold.fold_pairs(model, pairs)
    except UserError as error:
        raise UserError(f"fuse_list: {error}") from None

"""`PTQ` under PaddleSlim's name: quantization after training, from forward passes that the user runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim.options_quant import QuantOptions
from ppcls_compress.slim.quant import fold, layers
from ppcls_compress.slim.quant.calibrate import Observation, required_quant_layers
from ppcls_compress.slim.quant.inference import to_inference
from ppcls_compress.slim.quant.prepare import prepare
from ppcls_compress.slim.tracing import save_program

_ARGUMENTS = {"quant_bits": "activation_bits", "bins": "bins", "upsample_bins": "upsample_bins"}


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
        **kwargs: arguments of the activation quantizer: quant_bits, bins, upsample_bins, hist_percent, percentile.

    Raises:
        UserError: a name or argument that does not exist.
    """

    def __init__(
        self,
        activation_quantizer: str = "KLQuantizer",
        weight_quantizer: str = "PerChannelAbsmaxQuantizer",
        **kwargs: Any,
    ) -> None:
        allowed = {**_ARGUMENTS, "hist_percent": "hist_percent", "percentile": "percentile"}
        for key in kwargs:
            if key not in allowed:
                raise ConfigError(unknown(f"argument of {activation_quantizer}", key, allowed))
        self.options = QuantOptions(
            name="ptq",
            activation_quantizer=activation_quantizer,
            weight_quantizer=weight_quantizer,
            bias_correction=False,
            fuse_conv_bn=False,
            **{allowed[key]: value for key, value in kwargs.items()},
        )
        # By id(model); the model itself is kept beside, so that no other can take its id.
        self._observations: dict[int, tuple[paddle.nn.Layer, Observation, list[Any]]] = {}

    def quantize(
        self,
        model: paddle.nn.Layer,
        inplace: bool = False,
        fuse: bool = False,
        fuse_list: Sequence[Sequence[str]] | None = None,
    ) -> paddle.nn.Layer:
        """Prepare a model and observe its forward passes from now on; it computes in float until `convert`.

        Args:
            model: the float model.
            inplace: False works on a copy.
            fuse: fold batch norms into the convolutions before them.
            fuse_list: names, [[convolution, batch norm], ...]; all that can be found when left out.
        """
        if not isinstance(model, paddle.nn.Layer):
            raise UserError(f"model: a paddle.nn.Layer is needed, found {type(model).__name__}")
        model = model if inplace else copy.deepcopy(model)
        if fuse and fuse_list is None:
            fold.fold_batch_norms(model)
        elif fuse:
            fold.fold_pairs(model, [(conv, norm) for conv, norm in fuse_list])
        model, _ = prepare(model, self.options)
        found = layers.quant_layers(model)
        for layer in found.values():
            layer.quantizing = False
        observation = Observation(found)
        self._observations[id(model)] = (model, observation, observation.attach())
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
            input_spec: InputSpecs or example tensors.
        """
        save_program(to_inference(self.convert(model)), path, input_spec)

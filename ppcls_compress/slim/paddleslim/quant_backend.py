"""PaddleSlim's own quantization-aware training in the place of ours (`Slim.quant.backend: paddleslim`).

PaddleSlim swaps the layers and Paddle's layers train; here they are only put where the network uses them, kept beside
their float layers, and translated into ours, which compute the same, where a quantized model is deployed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import paddle
from paddle.nn.quant import quant_layers

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.paddleslim import prune_backend
from ppcls_compress.slim.quant import foreign, layers
from ppcls_compress.slim.quant.building import CustomParts, quantized_layer

_QUANTIZED = (quant_layers.QuantizedConv2D, quant_layers.QuantizedConv2DTranspose, quant_layers.QuantizedLinear)
_PARTS = {
    "act_quantize": "_fake_quant_input",
    "weight_quantize": "_fake_quant_weight",
    "act_preprocess": "_act_preprocess",
    "weight_preprocess": "_weight_preprocess",
}
_CONFIG = (
    "weight_preprocess_type",
    "activation_preprocess_type",
    "weight_quantize_type",
    "activation_quantize_type",
    "weight_bits",
    "activation_bits",
    "dtype",
    "moving_rate",
    "onnx_format",
)


class PaddleSlimLayer(foreign.ForeignLayer, quant_layers.MAOutputScaleLayer):
    """What PaddleSlim put in the place of a layer: that layer, quantized or not, and an observer of its output.

    Attributes:
        options: how the network was quantized.
        custom: which steps classes of the user's own take, by the names of `CustomParts`.
    """

    def counterpart(self, name: str) -> paddle.nn.Layer | None:
        """Our own layer in the same state, sharing the parameters; None if PaddleSlim only observes this one."""
        if not isinstance(self._layer, _QUANTIZED):
            return None
        given = {key: getattr(self._layer, _PARTS[key]) for key in self.custom}
        (layer,) = self.float_layer
        ours = quantized_layer(name, layer, replace(self.options, backend="native").as_paddleslim(), given)
        for part in _PARTS.values():
            own, theirs = getattr(ours, part), getattr(self._layer, part)
            state = {} if own is None or own is theirs else own.state_dict()
            for key, tensor in state.items():
                tensor.set_value(theirs.state_dict()[key])
        for sublayer in ours.sublayers(include_self=True):
            sublayer.training = self.training
        return ours


@foreign.BACKENDS.register("paddleslim")
def quantize(model: paddle.nn.Layer, options: QuantOptions, names: Collection[str], custom: CustomParts) -> None:
    """Let PaddleSlim's QAT quantize the named layers, in place.

    Raises:
        UserError: it cannot; the model is as it was.
        MissingDependencyError: PaddleSlim is not installed.
    """
    qat = prune_backend.load("Slim.quant").quant.QAT
    before = dict(model.named_sublayers())
    with _left_alone(layer for name, layer in before.items() if name not in names):
        try:
            qat(_config(options), **custom.given()).quantize(model)
        except Exception as error:
            # PaddleSlim meets what it cannot quantize with any exception, a bare AssertionError included.
            layers.replace(model, {id(new): old for new, old in _changed(before, model)})
            raise UserError(
                f"Slim.quant.backend: paddleslim cannot quantize this network: {first_line(error)}"
            ) from error
    swaps = {}
    for new, old in _changed(before, model):
        kept = layers.transplant(new, PaddleSlimLayer)
        kept.float_layer, kept.options, kept.custom = (old,), options, tuple(custom.given())
        # The network may hold the float layer in a list as well and call it from there, which PaddleSlim overlooks.
        swaps |= {id(new): kept, id(old): kept}
    layers.replace(model, swaps)


def _config(options: QuantOptions) -> dict[str, object]:
    kinds = {"Conv2D" if kind == "depthwise" else kind for kind in options.quantizable_layer_type}
    return {**{key: getattr(options, key) for key in _CONFIG}, "quantizable_layer_type": sorted(kinds)}


def _changed(
    before: dict[str, paddle.nn.Layer], model: paddle.nn.Layer
) -> list[tuple[paddle.nn.Layer, paddle.nn.Layer]]:
    """(new, old) for the layers that are others now; what lay inside such a layer has lost its name."""
    now = dict(model.named_sublayers())
    return [(now[name], old) for name, old in before.items() if now.get(name, old) is not old]


@contextlib.contextmanager
def _left_alone(others: Iterable[paddle.nn.Layer]) -> Iterator[None]:
    """While active, PaddleSlim passes over these layers; its word for that is an attribute of theirs."""
    marked = [layer for layer in others if layers.base_type(layer) and not getattr(layer, "skip_quant", False)]
    before = [layer.__dict__.get("skip_quant") for layer in marked]
    try:
        for layer in marked:
            layer.__dict__["skip_quant"] = True
        yield
    finally:
        for layer, value in zip(marked, before, strict=True):
            del layer.__dict__["skip_quant"]
            if value is not None:
                layer.__dict__["skip_quant"] = value

"""Quantized layers of another library in the place of ours: how they are told apart, put back, and translated.

A backend of `Slim.quant.backend` is a function in `BACKENDS` that puts such layers into a network, each of them a
`ForeignLayer`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import paddle

from ppcls_compress.registry import Registry
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.building import CustomParts

Backend = Callable[[paddle.nn.Layer, QuantOptions, Collection[str], CustomParts], None]
"""Quantizes the named layers of a network in place, and leaves it as it was where it raises a UserError."""

BACKENDS: Registry[Backend] = Registry("backend of Slim.quant")


class ForeignLayer:
    """Mixed into what another library puts in the place of a layer.

    Attributes:
        float_layer: the layer before, alone in a tuple, so that it is no sublayer; the parameters are shared.
    """

    float_layer: tuple[paddle.nn.Layer]

    def counterpart(self, name: str) -> paddle.nn.Layer | None:
        """Our own layer in the same state, sharing the parameters; None if this one is not quantized."""
        raise TypeError(f"{type(self).__name__} has no counterpart of its own")


def foreign_layers(model: paddle.nn.Layer) -> dict[str, Any]:
    """What another library put in, by the structured name of the float layer."""
    return {name: layer for name, layer in model.named_sublayers() if isinstance(layer, ForeignLayer)}


def float_layers(model: paddle.nn.Layer) -> dict[int, paddle.nn.Layer]:
    """The float layers to put back, with the weights as they were trained, by `id()` of what was put in."""
    swaps = {}
    for layer in foreign_layers(model).values():
        (before,) = layer.float_layer
        for sublayer in before.sublayers(include_self=True):
            sublayer.training = layer.training
        swaps[id(layer)] = before
    return swaps


def counterparts(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """Our own quantized layers in the state of the foreign ones, by name; the model keeps those."""
    found = {name: layer.counterpart(name) for name, layer in foreign_layers(model).items()}
    return {name: layer for name, layer in found.items() if layer is not None}


def native(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """A copy in which our own layers compute what foreign ones do, with the parameters' names; without any, `model`."""
    if not foreign_layers(model):
        return model
    duplicate = copied(model)
    theirs = foreign_layers(duplicate)
    translated = {id(theirs[name]): ours for name, ours in counterparts(duplicate).items()}
    layers.replace(duplicate, float_layers(duplicate) | translated)
    return duplicate

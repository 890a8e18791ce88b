"""Marks in the float network where training rounds, so that an exporter to another format finds the places again."""

from __future__ import annotations

from typing import Any

import paddle

from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.input_grid import InputGrid, quantizer_grid
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.placement.calls import ByCall

_INPUT = "_mark_input"


class Mark(paddle.nn.Layer):
    """Multiplies by a parameter of its own, whose name an exported graph keeps; its value means nothing."""

    quantizing = True

    def __init__(self) -> None:
        super().__init__()
        # Not 1, which an exporter may leave out.
        self.factor = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(2.0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """`x` times the factor, any shape."""
        return x * self.factor


def mark_places(model: paddle.nn.Layer) -> dict[str, InputGrid]:
    """Turn a model of `placement: deploy` into its float network with a mark at each place, in place.

    Biases are rounded, but for those of layers that are called more than once, which each call rounds to its own grid.

    Returns:
        The grid of each place by the name of its mark's parameter.

    Raises:
        UserError: a place is not calibrated.
    """
    grids: dict[str, InputGrid] = {}
    swaps: dict[int, paddle.nn.Layer] = {}
    with layers.evaluating(model):
        for layer in placement.outputs(model).values():
            layer.add_sublayer(placement.OUTPUT, _marks(placement.quantizer_of(layer), grids))
        for layer in layers.quant_layers(model).values():
            swaps[id(layer)] = plain = layers.plain(layer)
            rounding = layer._fake_quant_input
            if layer.bias is not None and not isinstance(rounding, ByCall):
                with paddle.no_grad():
                    plain.bias.set_value(layer.effective_bias())
            plain.add_sublayer(_INPUT, _marks(rounding, grids))
            plain.register_forward_pre_hook(_mark_input, with_kwargs=True)
    layers.replace(model, swaps)
    return grids


def _marks(rounding: paddle.nn.Layer, grids: dict[str, InputGrid]) -> paddle.nn.Layer:
    """A mark in the place of a quantizer, or one for each call; nothing where a tensor arrives rounded."""

    def mark(quantizer: paddle.nn.Layer) -> paddle.nn.Layer:
        if isinstance(quantizer, placement.RoundedBefore):
            return paddle.nn.Identity()
        made = Mark()
        grids[made.factor.name] = quantizer_grid(quantizer)
        return made

    return placement.replaced(rounding, mark)


def _mark_input(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mark = layer._sub_layers[_INPUT]
    if inputs:
        return (mark(inputs[0]), *inputs[1:]), named
    # Under the name that the layer's kind has for it.
    return inputs, {key: mark(value) if key in ("x", "input") else value for key, value in named.items()}

"""Marks in the float network where training rounds, so that an exporter to another format finds the places again."""

from __future__ import annotations

from typing import Any

import paddle

from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.inference import InputGrid, quantizer_grid
from ppcls_compress.slim.quant.placement import placement

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
    """Turn a model of `placement: deploy` into its float network with a mark at each place, biases rounded, in place.

    Returns:
        The grid of each place by the name of its mark's parameter.

    Raises:
        UserError: a place is not calibrated.
    """
    grids, swaps = {}, {}
    with layers.evaluating(model):
        for layer in placement.outputs(model).values():
            grid = quantizer_grid(placement.quantizer_of(layer))
            grids[_put(layer, placement.OUTPUT)] = grid
        for layer in layers.quant_layers(model).values():
            with paddle.no_grad():
                bias = layer.effective_bias()
            swaps[id(layer)] = plain = layers.plain(layer)
            if bias is not None:
                plain.bias.set_value(bias)
            if not isinstance(layer._fake_quant_input, placement.RoundedBefore):
                grids[_put(plain, _INPUT)] = quantizer_grid(layer._fake_quant_input)
                plain.register_forward_pre_hook(_mark_input, with_kwargs=True)
    layers.replace(model, swaps)
    return grids


def _put(layer: paddle.nn.Layer, name: str) -> str:
    mark = Mark()
    layer.add_sublayer(name, mark)
    return mark.factor.name


def _mark_input(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mark = layer._sub_layers[_INPUT]
    if inputs:
        return (mark(inputs[0]), *inputs[1:]), named
    # Under the name that the layer's kind has for it.
    return inputs, {key: mark(value) if key in ("x", "input") else value for key, value in named.items()}

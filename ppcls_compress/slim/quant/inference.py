"""A quantized model as it is deployed by Paddle itself: integer weights, fixed activation ranges."""

from __future__ import annotations

import copy

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.quant import fake_quant, layers


def to_inference(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """A copy in which each quantized layer holds its weight as int8 (int16 above 8 bits) times a scale per channel.

    The copy is in evaluation mode, saves with `paddle.jit.save`, dynamic batch included, and computes what the original
    does in evaluation, to float rounding. The original is not touched.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    found = layers.quant_layers(model)
    if not found:
        raise UserError(f"{type(model).__name__} is not prepared for quantization: it holds no quantized layer")
    for layer in found.values():
        layer._fake_quant_input.limit()
    duplicate = copy.deepcopy(model)
    duplicate.eval()
    layers.replace(duplicate, {id(layer): _fixed(layer) for layer in layers.quant_layers(duplicate).values()})
    return duplicate


class FixedInput(paddle.nn.Layer):
    """Rounds to a grid whose range is fixed."""

    def __init__(self, limit: float, bits: int, unsigned: bool) -> None:
        super().__init__()
        self.bits = bits
        self.unsigned = unsigned
        self.register_buffer("limit", paddle.full([1], limit))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape."""
        return fake_quant.round_to_grid(x, self.limit, self.bits, self.unsigned)


class InferenceLayer:
    """A layer with an integer weight and a rounded input."""

    def forward(self, x: paddle.Tensor, *args: object) -> paddle.Tensor:
        """The float layer's result on the rounded input and the rescaled integers."""
        return self.compute(self.rounding(x), self.weight, *args)

    @property
    def weight(self) -> paddle.Tensor:
        """The weight in float."""
        return self.weight_integers.astype("float32") * self.weight_scale


class InferenceConv2D(InferenceLayer, layers.FunctionalConv2D, paddle.nn.Conv2D):
    """Conv2D with an integer weight."""


class InferenceConv2DTranspose(InferenceLayer, layers.FunctionalConv2DTranspose, paddle.nn.Conv2DTranspose):
    """Conv2DTranspose with an integer weight."""


class InferenceLinear(InferenceLayer, layers.FunctionalLinear, paddle.nn.Linear):
    """Linear with an integer weight."""


_INFERENCE = {
    layers.QuantConv2D: InferenceConv2D,
    layers.QuantConv2DTranspose: InferenceConv2DTranspose,
    layers.QuantLinear: InferenceLinear,
}


def _fixed(layer: paddle.nn.Layer) -> paddle.nn.Layer:
    grid = layer._fake_quant_weight.grid(layer.weight)
    inputs = layer._fake_quant_input
    limit = inputs.limit()
    other = layers.transplant(layers.plain(layer), _INFERENCE[type(layer)])
    del other._parameters["weight"]
    shape = [1] * grid.integers.ndim
    shape[grid.axis] = grid.scale.size
    other.register_buffer("weight_integers", paddle.to_tensor(grid.integers))
    other.register_buffer("weight_scale", paddle.to_tensor(grid.scale.reshape(shape)))
    other.rounding = inputs if limit is None else FixedInput(limit, inputs.bits, inputs.unsigned)
    return other

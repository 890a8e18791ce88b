"""A quantized model as it is deployed: integer weights, fixed activation ranges."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim.quant import fake_quant, fold, layers, placement
from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.learned import ClipByAlpha, PaddleSlimPact
from ppcls_compress.slim.quant.paddleslim_backend import native
from ppcls_compress.slim.quant.quantizers import ActivationQuantizer
from ppcls_compress.slim.quant.weights import WeightGrid, WeightQuantizer


@dataclass(frozen=True)
class InputGrid:
    """The grid of a layer's input: integers `low` .. `high` times limit / high.

    Attributes:
        limit: the largest value, or None when it is found anew for each batch.
        bits: 2 to 16.
        unsigned: whether all levels are non-negative.
        full_range: whether the lowest signed integer is used; halves then round to even, otherwise away from zero.
        clip: the range that the input is clipped to before it is rounded, if that is another.
    """

    limit: float | None
    bits: int
    unsigned: bool
    full_range: bool
    clip: float | None = None

    @property
    def high(self) -> int:
        """The largest integer."""
        return fake_quant.levels(self.bits, self.unsigned)

    @property
    def low(self) -> int:
        """The smallest integer."""
        return 0 if self.unsigned else -self.high - self.full_range

    @property
    def scale(self) -> float | None:
        """What an integer is multiplied by."""
        return None if self.limit is None else self.limit / self.high


@dataclass(frozen=True)
class LayerGrid:
    """On which grids a layer computes; None for a step that a class of the user's own takes."""

    input: InputGrid | None
    weight: WeightGrid | None


def grids(model: paddle.nn.Layer) -> dict[str, LayerGrid]:
    """The grids of every quantized layer, by structured name, as evaluation uses them.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    model = native(model)
    found = required_quant_layers(model)
    with layers.evaluating(model):
        return {name: LayerGrid(_input_grid(layer), _weight_grid(layer)) for name, layer in found.items()}


def to_inference(model: paddle.nn.Layer, *, integers: bool = True) -> paddle.nn.Layer:
    """A copy whose quantized layers hold their weight as int8 (int16 above 8 bits) times a range per channel.

    The copy is in evaluation mode, saves with `paddle.jit.save`, dynamic batch included, and computes what the original
    does in evaluation. The original is not touched.

    Args:
        model: prepared, and calibrated or trained.
        integers: False keeps float weights on the grid, as PaddleSlim's `onnx_format=False` does.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    duplicate = copy.deepcopy(native(model))
    duplicate.eval()
    found = required_quant_layers(duplicate)
    for layer in placement.outputs(duplicate).values():
        layer.add_sublayer(placement.OUTPUT, FixedInput(quantizer_grid(placement.quantizer_of(layer))))
    layers.replace(duplicate, {id(layer): _fixed(layer, integers) for layer in found.values()})
    return duplicate


def fold_batch_norms(model: paddle.nn.Layer, inputs: Sequence[Any]) -> None:
    """Fold batch norms into the integer convolutions before them, in place: into their ranges, signs and biases.

    Args:
        model: that `to_inference` gave.
        inputs: shapes of the network's inputs, to see what reads what.
    """
    found = dict(model.named_sublayers())
    identities = {}
    for conv, norm in fold.foldable_pairs(model, inputs):
        if isinstance(found[conv], InferenceConv2D) and found[conv].weight_levels is not None:
            _fold(found[conv], found[norm])
            identities[id(found[norm])] = paddle.nn.Identity()
    layers.replace(model, identities)


def _fold(conv: InferenceConv2D, norm: paddle.nn.Layer) -> None:
    if conv.bias is None:
        layers.add_bias(conv)
    factor, shift = fold.affine(norm)
    column = factor.reshape(-1, 1, 1, 1)
    integers = conv.weight_integers.numpy()
    # One step of the lowest integer is lost where its sign turns: +128 does not exist in int8.
    turned = np.minimum(integers.astype(np.int32) * np.where(column < 0, -1, 1), np.iinfo(integers.dtype).max)
    conv.register_buffer("weight_integers", paddle.to_tensor(turned.astype(integers.dtype)))
    limit = conv.weight_limit.numpy() * np.abs(column)
    conv.register_buffer("weight_limit", paddle.to_tensor(limit.astype(np.float32)))
    conv.bias.set_value((conv.bias.numpy() * factor + shift).astype(np.float32))


class FixedInput(paddle.nn.Layer):
    """Rounds to a grid whose range is fixed."""

    quantizing = True

    def __init__(self, grid: InputGrid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("limit", paddle.full([1], grid.limit))
        if grid.clip is not None:
            self.register_buffer("clip", paddle.full([1], grid.clip))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape."""
        if self.grid.clip is not None:
            x = paddle.maximum(paddle.minimum(x, self.clip), -self.clip)
        return fake_quant.round_to_grid(x, self.limit, self.grid.bits, self.grid.unsigned, self.grid.full_range)


class InferenceLayer:
    """A layer with a weight of integers, or of floats on the grid, and a rounded input."""

    def forward(self, x: paddle.Tensor, *args: object) -> paddle.Tensor:
        """The float layer's result on the rounded input and weight."""
        return self.compute(self.rounding(x), self.weight, *args)

    @property
    def weight(self) -> paddle.Tensor:
        """The weight in float."""
        if self.weight_levels is None:
            return self.weight_rounded
        # Paddle before 3.3.1 divides by a Python number by multiplying with its rounded inverse; by a tensor, exactly.
        levels = paddle.full([1], self.weight_levels, "float32")
        return self.weight_integers.astype("float32") * self.weight_limit / levels


class InferenceConv2D(InferenceLayer, layers.FunctionalConv2D, paddle.nn.Conv2D):
    """Conv2D with a rounded weight."""


class InferenceConv2DTranspose(InferenceLayer, layers.FunctionalConv2DTranspose, paddle.nn.Conv2DTranspose):
    """Conv2DTranspose with a rounded weight."""


class InferenceLinear(InferenceLayer, layers.FunctionalLinear, paddle.nn.Linear):
    """Linear with a rounded weight."""


_INFERENCE = {
    layers.QuantConv2D: InferenceConv2D,
    layers.QuantConv2DTranspose: InferenceConv2DTranspose,
    layers.QuantLinear: InferenceLinear,
}


def _input_grid(layer: paddle.nn.Layer) -> InputGrid | None:
    inputs, before = layer._fake_quant_input, layer._act_preprocess
    if not isinstance(inputs, ActivationQuantizer) or not isinstance(before, ClipByAlpha | PaddleSlimPact | None):
        return None
    limit = inputs.limit()
    alpha = None if before is None else before.range()
    clips = alpha is not None and (limit is None or alpha < limit)
    return InputGrid(limit, inputs.bits, inputs.unsigned, inputs.full_range, alpha if clips else None)


def quantizer_grid(quantizer: ActivationQuantizer) -> InputGrid:
    """The grid of a quantizer that is by itself, as evaluation uses it.

    Raises:
        UserError: it is not calibrated.
    """
    return InputGrid(quantizer.limit(), quantizer.bits, quantizer.unsigned, quantizer.full_range)


def _weight_grid(layer: paddle.nn.Layer) -> WeightGrid | None:
    quantizer = layer._fake_quant_weight
    if not isinstance(quantizer, WeightQuantizer):
        return None
    with paddle.no_grad():
        return quantizer.grid(layer.preprocessed_weight())


def _fixed(layer: paddle.nn.Layer, integers: bool) -> paddle.nn.Layer:
    inputs, weight = _input_grid(layer), _weight_grid(layer)
    with paddle.no_grad():
        rounded = layer.quantized_weight()
        bias = layer.effective_bias()
    other = layers.transplant(layers.plain(layer), _INFERENCE[type(layer)])
    if layer.rounds_bias and bias is not None:
        other.bias.set_value(bias)
    del other._parameters["weight"]
    if weight is None or not integers:
        other.weight_levels = None
        other.register_buffer("weight_rounded", rounded.detach())
    else:
        other.weight_levels = weight.levels
        other.register_buffer("weight_integers", paddle.to_tensor(weight.integers))
        other.register_buffer("weight_limit", paddle.to_tensor(weight.along_axis(weight.limit)))
    if isinstance(layer._fake_quant_input, placement.RoundedBefore):
        other.rounding = paddle.nn.Identity()
    elif inputs is None or inputs.limit is None:
        steps = [step for step in (layer._act_preprocess, layer._fake_quant_input) if step is not None]
        other.rounding = paddle.nn.Sequential(*steps)
    else:
        other.rounding = FixedInput(inputs)
    return other

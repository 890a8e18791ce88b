"""A quantized model as it is deployed: integer weights, fixed activation ranges."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.inputs import example as examples
from ppcls_compress.slim.quant import fold, layers
from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.foreign import native
from ppcls_compress.slim.quant.input_grid import InputGrid, quantizer_grid
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.placement.calls import ByCall
from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer
from ppcls_compress.slim.quant.quantizers.learned import ClipByAlpha, PaddleSlimPact
from ppcls_compress.slim.quant.quantizers.weights import WeightGrid, WeightQuantizer

# Far above what a lowest integer loses where its sign turns, far below what a wrongly folded norm changes.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class LayerGrid:
    """On which grids a layer computes; None for a step that a class of the user's own takes.

    Attributes:
        input: of a layer that is called more than once and has a grid for each call, that of the first.
        calls: its grids in the order of the calls; empty for other layers.
    """

    input: InputGrid | None
    weight: WeightGrid | None
    calls: tuple[InputGrid, ...] = ()

    def at(self, call: int) -> LayerGrid:
        """The grids of one call."""
        return LayerGrid(self.calls[call], self.weight) if self.calls else self

    def plain(self) -> LayerGrid:
        """The grids where zero may lie only on the lowest integer or in the middle, one for each tensor."""
        inputs = None if self.input is None else self.input.plain()
        return LayerGrid(inputs, self.weight, tuple(grid.plain() for grid in self.calls))


def grids(model: paddle.nn.Layer) -> dict[str, LayerGrid]:
    """The grids of every quantized layer, by structured name, as evaluation uses them.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    model = native(model)
    found = required_quant_layers(model)
    with layers.evaluating(model):
        return {name: _layer_grid(layer) for name, layer in found.items()}


def to_inference(model: paddle.nn.Layer, *, integers: bool = True) -> paddle.nn.Layer:
    """A copy whose quantized layers hold their weight as int8 (int16 above 8 bits) times a range per channel.

    The copy is in evaluation mode, is written by `slim.tracing.save_program`, dynamic batch included, and computes what
    the original does in evaluation. The original is not touched.

    Args:
        model: prepared, and calibrated or trained.
        integers: False keeps float weights on the grid, as PaddleSlim's `onnx_format=False` does.

    Raises:
        UserError: no quantized layer, or one that is not calibrated.
    """
    duplicate = copied(native(model))
    duplicate.eval()
    found = required_quant_layers(duplicate)
    for layer in placement.outputs(duplicate).values():
        layer.add_sublayer(placement.OUTPUT, placement.replaced(placement.quantizer_of(layer), _fixed_input))
    layers.replace(duplicate, {id(layer): _fixed(layer, integers) for layer in found.values()})
    return duplicate


def put_on_grids(model: paddle.nn.Layer, inputs: Mapping[str, InputGrid], weights: Mapping[str, WeightGrid]) -> None:
    """Let layers round their inputs, and hold their weights, on other grids, in place.

    Args:
        model: that `to_inference` gave.
        inputs: by structured name of the layer.
        weights: the same.
    """
    found = dict(model.named_sublayers())
    for name, grid in inputs.items():
        found[name].rounding = FixedInput(grid)
    for name, grid in weights.items():
        _hold(found[name], grid)


def fold_batch_norms(model: paddle.nn.Layer, inputs: Sequence[Any]) -> bool:
    """Fold batch norms into the integer convolutions before them, in place: into their ranges, signs and biases.

    Args:
        model: that `to_inference` gave.
        inputs: shapes of the network's inputs, to see what reads what.

    Returns:
        Whether the network computes the same with them folded; if not, it is as it was.
    """
    example = examples(inputs)
    found = dict(model.named_sublayers())
    swaps: list[tuple[paddle.nn.Layer, paddle.nn.Layer]] = []
    for conv, norm in fold.foldable_pairs(model, example):
        if isinstance(found[conv], InferenceConv2D) and found[conv].grid is not None:
            swaps.append((found[conv], _folded(found[conv], found[norm])))
            swaps.append((found[norm], fold.remainder(found[norm], norm)))
    with _without_rounding(model), paddle.no_grad():
        before = fold.arrays(model(*example))
        layers.replace(model, {id(old): new for old, new in swaps})
        difference, size = fold.change(before, fold.arrays(model(*example)))
    same = bool(difference <= _TOLERANCE * size)
    if not same:
        layers.replace(model, {id(new): old for old, new in swaps})
    return same


def _folded(conv: InferenceConv2D, norm: paddle.nn.Layer) -> InferenceConv2D:
    """The convolution with the norm folded in; the given one stays as it is."""
    other = layers.transplant(conv, type(conv))
    factor, shift = fold.affine(norm)
    bias = 0.0 if conv.bias is None else conv.bias.numpy()
    layers.add_bias(other)
    other.bias.set_value((bias * factor + shift).astype(np.float32))
    _hold(other, conv.grid.scaled(factor))
    return other


@contextlib.contextmanager
def _without_rounding(model: paddle.nn.Layer) -> Iterator[None]:
    """Activations pass as they are: a value next to a boundary may otherwise fall on its other side."""
    inputs = [layer for layer in model.sublayers() if isinstance(layer, FixedInput)]
    for layer in inputs:
        layer.quantizing = False
    try:
        yield
    finally:
        for layer in inputs:
            layer.quantizing = True


class FixedInput(paddle.nn.Layer):
    """Rounds to a grid whose range is fixed.

    Attributes:
        quantizing: False lets its input pass as it is.
    """

    quantizing = True

    def __init__(self, grid: InputGrid) -> None:
        super().__init__()
        self.grid = grid
        name, value = ("limit", grid.limit) if grid.zero_point is None else ("step", grid.scale)
        self.register_buffer(name, paddle.full([1], value))
        if grid.factors is not None:
            self.register_buffer("factors", paddle.to_tensor(grid.factors, "float32").reshape([-1, 1, 1]))
        if grid.clip is not None:
            self.register_buffer("clip", paddle.full([1], grid.clip))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Round `x`, any shape."""
        if not self.quantizing:
            return x
        if self.grid.clip is not None:
            x = paddle.maximum(paddle.minimum(x, self.clip), -self.clip)
        if self.grid.factors is None:
            return self._rounded(x)
        return self._rounded(x / self.factors) * self.factors

    def _rounded(self, x: paddle.Tensor) -> paddle.Tensor:
        grid = self.grid
        if grid.zero_point is None:
            return fake_quant.round_to_grid(x, self.limit, grid.bits, grid.unsigned, grid.full_range)
        return fake_quant.round_between(x, self.step, paddle.full([1], float(grid.zero_point)), grid.bits)


class InferenceLayer:
    """A layer with a weight of integers, or of floats on the grid, and a rounded input.

    Attributes:
        weight_bits: of the integers, or None for a weight of floats.
    """

    def forward(self, *args: Any, **kwargs: Any) -> paddle.Tensor:
        """The float layer's result on the rounded input and weight."""
        x, args, kwargs = self.arguments(args, kwargs)
        return self.compute(self.rounding(x), self.weight, *args, **kwargs)

    def effective_bias(self) -> paddle.Tensor | None:
        """The bias, that of this call where calls have their own."""
        if not isinstance(self.rounding, ByCall) or self.bias is None:
            return self.bias
        return self._buffers.get(f"bias_{self.rounding.number()}", self.bias)

    @property
    def weight(self) -> paddle.Tensor:
        """The weight in float."""
        if self.weight_bits is None:
            return self.weight_rounded
        # Paddle before 3.3.1 divides by a Python number by multiplying with its rounded inverse; by a tensor, exactly.
        levels = paddle.full([1], fake_quant.levels(self.weight_bits), "float32")
        return self.weight_integers.astype("float32") * self.weight_limit / levels

    @property
    def grid(self) -> WeightGrid | None:
        """The integers and their ranges, or None for a weight of floats."""
        if self.weight_bits is None:
            return None
        limit = self.weight_limit.numpy().reshape(-1)
        return WeightGrid(self.weight_integers.numpy(), limit, self.channel_axis, self.weight_bits)


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


def _layer_grid(layer: paddle.nn.Layer) -> LayerGrid:
    weight, inputs = _weight_grid(layer), layer._fake_quant_input
    if not isinstance(inputs, ByCall):
        return LayerGrid(_input_grid(layer), weight)
    calls = tuple(quantizer_grid(quantizer) for _, quantizer in sorted(inputs.parts().items()))
    return LayerGrid(calls[0], weight, calls)


def _input_grid(layer: paddle.nn.Layer) -> InputGrid | None:
    inputs, before = layer._fake_quant_input, layer._act_preprocess
    if not isinstance(inputs, ActivationQuantizer) or not isinstance(before, ClipByAlpha | PaddleSlimPact | None):
        return None
    if before is None:
        return quantizer_grid(inputs)
    limit = inputs.limit()
    alpha = before.range()
    clips = limit is None or alpha < limit
    return InputGrid(limit, inputs.bits, inputs.unsigned, inputs.full_range, alpha if clips else None)


def _weight_grid(layer: paddle.nn.Layer) -> WeightGrid | None:
    quantizer = layer._fake_quant_weight
    if not isinstance(quantizer, WeightQuantizer):
        return None
    with paddle.no_grad():
        return quantizer.grid(layer.preprocessed_weight())


def _fixed_input(quantizer: ActivationQuantizer) -> paddle.nn.Layer:
    arrives_rounded = isinstance(quantizer, placement.RoundedBefore)
    return paddle.nn.Identity() if arrives_rounded else FixedInput(quantizer_grid(quantizer))


def _fixed(layer: paddle.nn.Layer, integers: bool) -> paddle.nn.Layer:
    rounding, weight = layer._fake_quant_input, _weight_grid(layer)
    inputs = None if isinstance(rounding, ByCall) else _input_grid(layer)
    with paddle.no_grad():
        rounded = layer.quantized_weight()
    kind = next(made for quantized, made in _INFERENCE.items() if isinstance(layer, quantized))
    other = layers.transplant(layers.plain(layer), layers.derived(kind, layer.float_type))
    _round_bias(layer, other)
    del other._parameters["weight"]
    if weight is None or not integers:
        other.weight_bits = None
        other.register_buffer("weight_rounded", rounded.detach())
    else:
        _hold(other, weight)
    if isinstance(rounding, ByCall | placement.RoundedBefore):
        other.rounding = placement.replaced(rounding, _fixed_input)
    elif inputs is None or inputs.limit is None:
        steps = [step for step in (layer._act_preprocess, layer._fake_quant_input) if step is not None]
        other.rounding = paddle.nn.Sequential(*steps)
    else:
        other.rounding = FixedInput(inputs)
    return other


def _round_bias(layer: paddle.nn.Layer, other: paddle.nn.Layer) -> None:
    """The bias as the layer rounds it, one for each call if each has a grid of its own."""
    if not layer.rounds_bias or layer.bias is None:
        return
    with paddle.no_grad():
        if not isinstance(layer._fake_quant_input, ByCall):
            other.bias.set_value(layer.effective_bias())
            return
        for number, quantizer in layer._fake_quant_input.parts().items():
            other.register_buffer(f"bias_{number}", layer.rounded_bias(quantizer))


def _hold(layer: paddle.nn.Layer, weight: WeightGrid) -> None:
    layer.weight_bits = weight.bits
    layer.register_buffer("weight_integers", paddle.to_tensor(weight.integers))
    layer.register_buffer("weight_limit", paddle.to_tensor(weight.along_axis(weight.limit)))

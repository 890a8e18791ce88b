"""Convolution and linear layers that quantize what they compute with, and back to the plain ones.

A quantized layer takes over its float layer's parameters, so the keys of the state dict stay: `<layer>.weight`,
`<layer>.bias`, and beside them, as in PaddleSlim, `<layer>._fake_quant_input.*` and `<layer>._fake_quant_weight.*`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import paddle
from paddle.nn import functional

from ppcls_compress.slim.quant.quantizers import fake_quant

PARTS = ("_fake_quant_weight", "_fake_quant_input", "_act_preprocess", "_weight_preprocess")
_STATE = ("float_type", "quantizing", "rounds_bias", "speaks")
_DEPLOYED = ("grid", "rounding", "weight_bits", "weight_integers", "weight_limit", "weight_rounded")
_TRACED_IN_TRAINING = (
    "quantized layers are traced in training mode: the program rounds as in evaluation, and no range learns or follows "
    "the data in it; call model.eval() before paddle.jit.save, and train without paddle.jit.to_static"
)
_CONTAINERS = ("_parameters", "_buffers", "_sub_layers", "_non_persistable_buffer_names_set")


def transplant(layer: paddle.nn.Layer, kind: type[paddle.nn.Layer]) -> paddle.nn.Layer:
    """A layer of another class with this one's parameters, hooks and attributes; the parameters are shared."""
    other = kind.__new__(kind)
    other.__dict__.update(layer.__dict__)
    for name in _CONTAINERS:
        other.__dict__[name] = copy.copy(layer.__dict__[name])
    if "forward" in layer.__dict__ and not has_own_forward(layer):
        del other.__dict__["forward"]  # what Paddle made of the other class's, for that very layer
    return other


def has_own_forward(layer: paddle.nn.Layer) -> bool:
    """Whether somebody has given this very layer a forward pass, other than what Paddle made of its class's."""
    own = layer.__dict__.get("forward")
    return own is not None and not type(own).__module__.startswith("paddle.jit.")


@functools.cache
def derived(kind: type[paddle.nn.Layer], own: type[paddle.nn.Layer]) -> type[paddle.nn.Layer]:
    """A class that computes as `kind` and is a `own` too, with its methods and attributes.

    Args:
        kind: derived from one of Paddle's layers.
        own: that layer, or a class that a user has derived from it and whose forward pass is Paddle's.
    """
    if issubclass(kind, own):
        return kind
    base = next(base for base in kind.__mro__ if base in QUANTIZED)
    name = f"{kind.__name__.removesuffix(base.__name__)}{own.__name__}"

    def describe(namespace: dict[str, object]) -> None:
        namespace.update(__module__=own.__module__, __qualname__=name, __doc__=own.__doc__)

    return types.new_class(name, (kind, own), exec_body=describe)


def taken_name(layer: paddle.nn.Layer) -> str | None:
    """A name that quantized layers use for themselves and that the user's class or layer has, or None."""
    base = base_type(layer)
    classes = type(layer).__mro__[: type(layer).__mro__.index(base)]
    defined = {name for kind in classes for name in vars(kind)}
    held = {name for store in (layer.__dict__, *(layer.__dict__[name] for name in _CONTAINERS)) for name in store}
    return min((defined & {*_reserved(), "weight"}) | (held & _reserved()), default=None)


@functools.cache
def _reserved() -> frozenset[str]:
    kinds = (Functional, FunctionalConv2D, FunctionalConv2DTranspose, FunctionalLinear, QuantLayer)
    defined = {name for kind in kinds for name in vars(kind) if not name.startswith("__")}
    return frozenset({*defined, *PARTS, *_STATE, *_DEPLOYED} - {"forward"})


class Functional:
    """A layer whose arithmetic is a function of what it is given.

    Attributes:
        input_name: what `forward` of the float layer calls its input.
    """

    input_name: ClassVar[str] = "x"

    def __init_subclass__(cls) -> None:
        """Nothing, whatever a user's class does with classes that are derived from it; see `derived`."""

    def arguments(self, given: tuple, named: dict[str, Any]) -> tuple[paddle.Tensor, tuple, dict[str, Any]]:
        """The input among the arguments of `forward`, and the others."""
        if given:
            return given[0], given[1:], named
        return named[self.input_name], (), {key: value for key, value in named.items() if key != self.input_name}

    def effective_bias(self) -> paddle.Tensor | None:
        """The bias that the result has."""
        return self.bias


class FunctionalConv2D(Functional):
    """A convolution with a weight given from outside, [out, in / groups, height, width]."""

    channel_axis: ClassVar[int] = 0

    def compute(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """The convolution of `x` with `weight`."""
        padding = self._padding
        if self._padding_mode != "zeros":
            x = functional.pad(
                x, self._reversed_padding_repeated_twice, mode=self._padding_mode, data_format=self._data_format
            )
            padding = 0
        bias, own = self.effective_bias(), None
        if bias is not None and paddle.in_dynamic_mode() and self._data_format == "NCHW":
            # Paddle's convolution adds [1, out, 1, 1], in ten times the time, to the same bits.
            bias, own = None, bias.reshape([-1, 1, 1])
        y = functional.conv2d(x, weight, bias, self._stride, padding, self._dilation, self._groups, self._data_format)
        return y if own is None else paddle.add(y, own)


class FunctionalConv2DTranspose(Functional):
    """A transposed convolution with a weight given from outside, [in, out / groups, height, width]."""

    channel_axis: ClassVar[int] = 1

    def compute(self, x: paddle.Tensor, weight: paddle.Tensor, output_size: list[int] | None = None) -> paddle.Tensor:
        """The transposed convolution of `x` with `weight`."""
        return functional.conv2d_transpose(
            x,
            weight,
            bias=self.effective_bias(),
            stride=self._stride,
            padding=self._padding,
            output_padding=self.output_padding if output_size is None else 0,
            groups=self._groups,
            dilation=self._dilation,
            output_size=output_size,
            data_format=self._data_format,
        )


class FunctionalLinear(Functional):
    """x @ weight + bias with a weight given from outside, [in, out]."""

    channel_axis: ClassVar[int] = 1
    input_name: ClassVar[str] = "input"

    def compute(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """The product of `x` and `weight`, and the bias."""
        return functional.linear(x, weight, self.effective_bias())


class QuantLayer:
    """A layer whose input and weight are fake-quantized.

    Attributes:
        quantizing: False computes in float, as calibration needs.
        rounds_bias: whether the bias is rounded as well, to the grid that an integer kernel accumulates on.
        float_type: the class to convert back to.
        speaks: whether it warns for the whole network, as one layer of each does.
    """

    rounds_bias: bool = False
    speaks: bool = False

    def forward(self, *args: Any, **kwargs: Any) -> paddle.Tensor:
        """The float layer's result on the rounded input and weight."""
        if self.speaks and self.training and not paddle.in_dynamic_mode():
            warnings.warn(_TRACED_IN_TRAINING, stacklevel=2)
        x, args, kwargs = self.arguments(args, kwargs)
        if not self.quantizing:
            return self.compute(x, self.weight, *args, **kwargs)
        return self.compute(self.quantized_input(x), self.quantized_weight(), *args, **kwargs)

    def quantized_input(self, x: paddle.Tensor) -> paddle.Tensor:
        """`x`, rounded; a half-precision input comes back as float32, which is what the rounding works in."""
        x = x if x.dtype == paddle.float32 else x.astype("float32")
        return self._fake_quant_input(x if self._act_preprocess is None else self._act_preprocess(x))

    def preprocessed_weight(self) -> paddle.Tensor:
        """The weight, clipped or whatever its preprocessing does."""
        return self.weight if self._weight_preprocess is None else self._weight_preprocess(self.weight)

    def quantized_weight(self) -> paddle.Tensor:
        """The weight, rounded."""
        return self._fake_quant_weight(self.preprocessed_weight())

    def effective_bias(self) -> paddle.Tensor | None:
        """The bias, rounded to whole products of an input level and a weight level if `rounds_bias`."""
        if self.bias is None or not (self.rounds_bias and self.quantizing):
            return self.bias
        inputs = self._fake_quant_input.active()
        return self.bias if inputs is None else self.rounded_bias(inputs)

    def rounded_bias(self, inputs: paddle.nn.Layer) -> paddle.Tensor:
        """The bias, rounded to whole products of a level of what quantizes the input and a weight level."""
        with paddle.no_grad():
            weights = self._fake_quant_weight
            step = inputs.current_step() * weights.limits(self.preprocessed_weight()) / fake_quant.levels(weights.bits)
            if step.size > 1:  # of a transposed convolution with groups one for each channel of a group
                step = step.tile([self.bias.size // step.size])
            # A channel of zeros has no grid, and its bias stays.
            error = paddle.where(step > 0, paddle.round(self.bias / step) * step - self.bias, paddle.zeros_like(step))
        return self.bias + error

    def parts(self) -> list[paddle.nn.Layer]:
        """The quantizers and preprocessing layers."""
        return [self._sub_layers[name] for name in PARTS if name in self._sub_layers]


class QuantConv2D(QuantLayer, FunctionalConv2D, paddle.nn.Conv2D):
    """Conv2D on a rounded input and weight."""


class QuantConv2DTranspose(QuantLayer, FunctionalConv2DTranspose, paddle.nn.Conv2DTranspose):
    """Conv2DTranspose on a rounded input and weight."""


class QuantLinear(QuantLayer, FunctionalLinear, paddle.nn.Linear):
    """Linear on a rounded input and weight."""


QUANTIZED = {
    paddle.nn.Conv2D: QuantConv2D,
    paddle.nn.Conv2DTranspose: QuantConv2DTranspose,
    paddle.nn.Linear: QuantLinear,
}


def base_type(layer: paddle.nn.Layer) -> type[paddle.nn.Layer] | None:
    """Which of the three layer types a layer is, or None."""
    return next((kind for kind in QUANTIZED if isinstance(layer, kind)), None)


@dataclass(frozen=True)
class Parts:
    """What a quantized layer quantizes with; preprocessing comes first and may be left out."""

    act_quantize: paddle.nn.Layer
    weight_quantize: paddle.nn.Layer
    act_preprocess: paddle.nn.Layer | None = None
    weight_preprocess: paddle.nn.Layer | None = None


def quantized(layer: paddle.nn.Layer, parts: Parts) -> paddle.nn.Layer:
    """The quantized counterpart of a float layer, sharing its parameters."""
    other = transplant(layer, derived(QUANTIZED[base_type(layer)], type(layer)))
    other.float_type = type(layer)
    other.quantizing = True
    other._fake_quant_weight = parts.weight_quantize
    other._fake_quant_input = parts.act_quantize
    other._act_preprocess = parts.act_preprocess
    other._weight_preprocess = parts.weight_preprocess
    for part in other.parts():
        for sublayer in part.sublayers(include_self=True):
            sublayer.training = layer.training
    return other


def plain(layer: paddle.nn.Layer) -> paddle.nn.Layer:
    """The float layer that a quantized one came from, with its present parameters."""
    other = transplant(layer, layer.float_type)
    for name in (*_STATE, *PARTS):
        other.__dict__.pop(name, None)
        other._sub_layers.pop(name, None)
    return other


@contextlib.contextmanager
def evaluating(model: paddle.nn.Layer) -> Iterator[None]:
    """The whole model in evaluation mode; each layer's own mode comes back afterwards."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def watched(
    found: Mapping[str, paddle.nn.Layer], watcher: Callable[[str], Callable[..., None]], *, after: bool = False
) -> Iterator[None]:
    """Within the block each call of a layer is told to `watcher(name)`, before it or after, as to hooks of Paddle."""
    hooks = [
        (layer.register_forward_post_hook if after else layer.register_forward_pre_hook)(watcher(name))
        for name, layer in found.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def quant_layers(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """The quantized layers by structured name."""
    return {name: layer for name, layer in model.named_sublayers() if isinstance(layer, QuantLayer)}


def replace(model: paddle.nn.Layer, swaps: dict[int, paddle.nn.Layer]) -> None:
    """Put other layers in the place of some, wherever the model holds them.

    Args:
        model: changed in place.
        swaps: the new layer by `id()` of the old one. Lists, tuples and dicts in attributes are searched as well: many
            networks keep their layers in one and call them from there.
    """
    for parent in model.sublayers(include_self=True):
        for name, child in parent._sub_layers.items():
            parent._sub_layers[name] = swaps.get(id(child), child)
        for name, value in parent.__dict__.items():
            if name not in _CONTAINERS:
                parent.__dict__[name] = _replaced(value, swaps)


def _replaced(value: object, swaps: dict[int, paddle.nn.Layer]) -> object:
    if id(value) in swaps:
        return swaps[id(value)]
    if type(value) in (list, tuple):
        items = [_replaced(item, swaps) for item in value]
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        if not changed:
            return value
        if isinstance(value, list):
            value[:] = items
            return value
        return tuple(items)
    if type(value) is dict:
        for key, item in value.items():
            value[key] = _replaced(item, swaps)
    return value


def add_bias(layer: paddle.nn.Layer) -> None:
    """Give a layer without a bias one of zeros."""
    channels = layer._out_channels if hasattr(layer, "_out_channels") else layer.weight.shape[1]
    layer.__dict__.pop("bias", None)
    layer.bias = layer.create_parameter([channels], is_bias=True)


def channel_dimension(layer: paddle.nn.Layer, dimensions: int) -> int:
    """Which dimension of the layer's output holds the channels."""
    return 1 if getattr(layer, "_data_format", "").startswith("NC") else dimensions - 1


def is_depthwise(layer: paddle.nn.Layer) -> bool:
    """Whether a layer is a convolution of [N, C, H, W] that computes each channel from one channel of its input."""
    if not isinstance(layer, paddle.nn.Conv2D) or layer._data_format != "NCHW":
        return False
    return layer._groups == layer._in_channels == layer._out_channels > 1

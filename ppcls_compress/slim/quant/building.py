"""One float layer -> its quantized counterpart, with the quantizers that the options ask for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields

import paddle

from ppcls_compress.errors import ConfigError, first_line, shortened, unknown
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.quantizers import activations, weights
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer


@dataclass(frozen=True)
class CustomParts:
    """Classes of the user's own that replace a step; each is called without arguments, once per layer.

    Attributes:
        weight_preprocess: weight -> weight.
        act_preprocess: activation -> activation.
        weight_quantize: weight -> rounded weight.
        act_quantize: activation -> rounded activation.
    """

    weight_preprocess: type[paddle.nn.Layer] | None = None
    act_preprocess: type[paddle.nn.Layer] | None = None
    weight_quantize: type[paddle.nn.Layer] | None = None
    act_quantize: type[paddle.nn.Layer] | None = None

    def __post_init__(self) -> None:
        for key, kind in self.given().items():
            if not (isinstance(kind, type) and issubclass(kind, paddle.nn.Layer)):
                raise ConfigError(f"{key}: a subclass of paddle.nn.Layer is needed, found {shortened(kind)}")
            needed = [
                parameter.name
                for parameter in inspect.signature(kind).parameters.values()
                if parameter.default is parameter.empty
                and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ]
            if needed:
                raise ConfigError(f"{key}: {kind.__name__} is made without arguments, and needs {', '.join(needed)}")

    def given(self) -> dict[str, type[paddle.nn.Layer]]:
        """The steps that are replaced."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: kind for key, kind in values.items() if kind is not None}

    def instances(self) -> dict[str, paddle.nn.Layer]:
        """One object of each given class, for one layer."""
        return {key: kind() for key, kind in self.given().items()}


def named_classes(options: QuantOptions) -> CustomParts:
    """Import the classes that the options name: this runs the user's code, so only for options that the user gave.

    Raises:
        ConfigError: a module or class does not exist, or is no layer that is made without arguments.
    """
    return CustomParts(**{key: _imported(key, name) for key, name in options.classes().items()})


def _imported(key: str, name: str) -> object:
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ConfigError(
                f"{key}: {name}: there is no module {missing}; install it, or put its folder into PYTHONPATH"
            ) from error
        raise ConfigError(f"{key}: {module_name} cannot be imported: {first_line(error)}") from error
    if not hasattr(module, class_name):
        choices = [other for other, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{key}: {unknown(f'class of {module_name}', class_name, choices)}")
    return getattr(module, class_name)


def quantized_layer(
    name: str, layer: paddle.nn.Layer, options: QuantOptions, custom: Mapping[str, paddle.nn.Layer]
) -> paddle.nn.Layer:
    """The quantized counterpart of a convolution or linear layer, sharing its parameters.

    Args:
        name: structured name, for messages.
        layer: float.
        options: of this layer, rules for single layers applied.
        custom: what takes the place of a step, by the names of `CustomParts`.
    """
    axis = layers.QUANTIZED[layers.base_type(layer)].channel_axis
    built = {
        "act_quantize": _input_quantizer(name, layer, options),
        "weight_quantize": weights.build(name, options, layer.weight, axis),
        "act_preprocess": activations.build_preprocess(name, options, alone="act_quantize" in custom),
        "weight_preprocess": weights.build_preprocess(name, options),
    }
    other = layers.quantized(layer, layers.Parts(**{**built, **custom}))
    if options.bias_correction and other.bias is None:
        layers.add_bias(other)
    return other


def _input_quantizer(name: str, layer: paddle.nn.Layer, options: QuantOptions) -> ActivationQuantizer:
    if not layers.is_depthwise(layer):
        return activations.build(name, options)
    return activations.build_for_depthwise(name, options, layer._in_channels)

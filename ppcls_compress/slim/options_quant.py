"""The options of `Slim.quant`: one frozen object, checked when it is made, without importing Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ppcls_compress.errors import ConfigError, unknown

WEIGHT_TYPES = ("abs_max", "channel_wise_abs_max", "range_abs_max", "moving_average_abs_max")
ACTIVATION_TYPES = ("abs_max", "range_abs_max", "moving_average_abs_max")
LAYER_TYPES = ("Conv2D", "Conv2DTranspose", "Linear", "depthwise")


@dataclass(frozen=True)
class LayerRule:
    """Other settings for some layers; what is left out keeps the value of the section.

    Attributes:
        layers: names (`blocks.0.conv1`), globs (`blocks.*.conv1`), types (`Linear`, `depthwise`), or `first` and
            `last`, the first and the last quantizable layer.
        weight_bits: 2 to 16.
        activation_bits: 2 to 16.
    """

    layers: tuple[str, ...]
    weight_bits: int | None = None
    activation_bits: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _names("layers", self.layers))
        if not self.layers:
            raise ConfigError("layers: names no layer; give names, globs or types")
        overrides = [key for key in _overridable() if getattr(self, key) is not None]
        if not overrides:
            raise ConfigError(f"layers {list(self.layers)}: the rule changes nothing; set one of {_overridable()}")
        _check_bits(self)

    def overrides(self) -> dict[str, Any]:
        """The settings that this rule changes."""
        return {key: getattr(self, key) for key in _overridable() if getattr(self, key) is not None}


@dataclass(frozen=True)
class QuantOptions:
    """Quantization-aware training of convolutions and linear layers.

    An option that has no effect with the chosen `name` is refused; it reads None.

    Attributes:
        name: `pact`, a learned clipping range per layer (Choi et al. 2018, in PaddleSlim's two-sided form), or `qat`,
            ranges by observation only.
        grid: pact. `alpha`: the range is alpha, trained as exported; `moving_average`: PaddleSlim's, clip by alpha,
            then quantize on the moving average of the largest magnitude.
        weight_bits: 2 to 16.
        activation_bits: 2 to 16.
        weight_quantize_type: how the range of a weight is found.
        activation_quantize_type: qat. How the range of an activation is found.
        moving_rate: decay of the moving average.
        dtype: `int8`, the only stored type that PaddleSlim knows too; 9 to 16 bits are stored as int16.
        quantizable_layer_type: layer types to quantize; `Conv2D` includes depthwise ones, `depthwise` is only those.
        skip: names, globs or types of layers that stay float; each must match something.
        per_layer: other settings for some layers; a later rule wins.
        unsigned: pact. The paper's one-sided form, clip(x, 0, alpha), on 2^bits levels: `auto` uses it where the
            calibration data is never negative.
        alpha_init: pact. How calibration chooses alpha: least squared error, or a `percentile` of the magnitudes.
        alpha_percentile: pact with `alpha_init: percentile`; in percent.
        alpha_learning_rate: pact. Learning rate of alpha as a multiple of the optimizer's.
        alpha_weight_decay: pact. L2 decay of alpha, in place of the optimizer's.
    """

    name: Literal["pact", "qat"] = "pact"
    grid: Literal["alpha", "moving_average"] | None = None
    weight_bits: int = 8
    activation_bits: int = 8
    weight_quantize_type: Literal["abs_max", "channel_wise_abs_max", "range_abs_max", "moving_average_abs_max"] = (
        "channel_wise_abs_max"
    )
    activation_quantize_type: Literal["abs_max", "range_abs_max", "moving_average_abs_max"] | None = None
    moving_rate: float | None = None
    dtype: Literal["int8"] = "int8"
    quantizable_layer_type: tuple[str, ...] = ("Conv2D", "Linear")
    skip: tuple[str, ...] = ()
    per_layer: tuple[LayerRule, ...] = ()
    unsigned: Literal["auto"] | bool | None = None
    alpha_init: Literal["mse", "percentile"] | None = None
    alpha_percentile: float | None = None
    alpha_learning_rate: float | None = None
    alpha_weight_decay: float | None = None

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_bits(self)
        object.__setattr__(self, "quantizable_layer_type", _layer_types(self.quantizable_layer_type))
        object.__setattr__(self, "skip", _names("skip", self.skip))
        object.__setattr__(self, "per_layer", tuple(self.per_layer))
        _fill_specific(self)
        _check_ranges(self)

    def as_dict(self) -> dict[str, Any]:
        """The options as plain JSON values, for a record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantOptions:
        """The options that `as_dict` wrote.

        Raises:
            ConfigError: a key or value that does not exist.
        """
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(unknown("quantization option", key, known))
        rules = tuple(LayerRule(**rule) for rule in values.get("per_layer", ()))
        return cls(**{**values, "per_layer": rules})


# Both are read by pydantic, which refuses keys that do not exist.
for _options in (LayerRule, QuantOptions):
    _options.__pydantic_config__ = {"extra": "forbid"}


def _overridable() -> list[str]:
    return [field.name for field in fields(LayerRule) if field.name != "layers"]


def _names(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{key}: a list of layer names, globs or types is needed, found {value!r}")
    return tuple(value)


def _layer_types(value: Any) -> tuple[str, ...]:
    names = _names("quantizable_layer_type", value)
    for name in names:
        if name not in LAYER_TYPES:
            raise ConfigError(f"quantizable_layer_type: {unknown('layer type', name, LAYER_TYPES)}")
    if not names:
        raise ConfigError("quantizable_layer_type: is empty, so nothing would be quantized")
    return names


def _check_choices(options: QuantOptions) -> None:
    for key, choices in _CHOICES.items():
        value = getattr(options, key)
        if value is not None and value not in choices:
            raise ConfigError(f"{key}: {unknown('value', value, choices)}")


def _check_bits(options: QuantOptions | LayerRule) -> None:
    for key in ("weight_bits", "activation_bits"):
        bits = getattr(options, key)
        if bits is None and isinstance(options, LayerRule):
            continue
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 16:
            raise ConfigError(f"{key}: {bits!r} is not a whole number from 2 to 16")


def _specific(options: QuantOptions) -> dict[str, Any]:
    """The options that apply to the chosen method only, with the value each takes when it is left out."""
    if options.name == "qat":
        kind = options.activation_quantize_type or "moving_average_abs_max"
        found = {"activation_quantize_type": kind}
    else:
        found = {
            "grid": "alpha",
            "unsigned": "auto",
            "alpha_init": "mse",
            "alpha_learning_rate": 1.0,
            "alpha_weight_decay": 1e-4,
        }
        if options.alpha_init == "percentile":
            found["alpha_percentile"] = 99.99
        kind = "moving_average_abs_max" if options.grid == "moving_average" else ""
    if "moving_average_abs_max" in (kind, options.weight_quantize_type):
        found["moving_rate"] = 0.9
    return found


def _fill_specific(options: QuantOptions) -> None:
    applicable = _specific(options)
    for key in _SPECIFIC:
        value = getattr(options, key)
        if key in applicable:
            object.__setattr__(options, key, applicable[key] if value is None else value)
        elif value is not None:
            raise ConfigError(f"{key}: {value!r} has no effect with {_situation(options)}; leave it out")


def _situation(options: QuantOptions) -> str:
    parts = [f"name: {options.name}"]
    parts += [f"{key}: {getattr(options, key)}" for key in ("grid", "alpha_init") if getattr(options, key)]
    return ", ".join(parts)


def _check_ranges(options: QuantOptions) -> None:
    for key, (allowed, holds) in _RANGES.items():
        value = getattr(options, key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ConfigError(f"{key}: {value!r} is not a number {allowed}")


_CHOICES = {
    "name": ("pact", "qat"),
    "grid": ("alpha", "moving_average"),
    "weight_quantize_type": WEIGHT_TYPES,
    "activation_quantize_type": ACTIVATION_TYPES,
    "dtype": ("int8",),
    "unsigned": ("auto", True, False),
    "alpha_init": ("mse", "percentile"),
}
_SPECIFIC = (
    "grid",
    "activation_quantize_type",
    "moving_rate",
    "unsigned",
    "alpha_init",
    "alpha_percentile",
    "alpha_learning_rate",
    "alpha_weight_decay",
)
_RANGES = {
    "moving_rate": ("above 0 and below 1", lambda value: 0 < value < 1),
    "alpha_percentile": ("above 50 and up to 100", lambda value: 50 < value <= 100),
    "alpha_learning_rate": (">= 0", lambda value: 0 <= value < float("inf")),
    "alpha_weight_decay": (">= 0", lambda value: 0 <= value < float("inf")),
}

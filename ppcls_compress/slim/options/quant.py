"""The options of `Slim.quant`: one frozen object, checked when it is made, without importing Paddle."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from ppcls_compress.errors import ConfigError, shortened, unknown
from ppcls_compress.slim.options import paddleslim
from ppcls_compress.slim.options.applicable import PLAIN_GRIDS, after_training, default_bins, in_training
from ppcls_compress.slim.options.bits import FLOAT, BitBudget
from ppcls_compress.slim.options.quant_checks import check_together
from ppcls_compress.slim.options.quant_numbers import RANGES, check_number
from ppcls_compress.slim.options.reconstruction import Reconstruction
from ppcls_compress.slim.options.rules import LAYER_TYPES, LayerRule, check_bits, names, nested, rules

WeightType = Literal[
    "abs_max",
    "channel_wise_abs_max",
    "range_abs_max",
    "moving_average_abs_max",
    "lsq_weight",
    "channel_wise_lsq_weight",
]
ActivationRule = Literal[
    "KLQuantizer",
    "HistQuantizer",
    "AbsmaxQuantizer",
    "PercentileQuantizer",
    "MSEQuantizer",
]
FEW_BITS = 4
"""Up to so many, an observed range holds a share of what was observed by default."""
CLASSES = ("weight_preprocess", "act_preprocess", "weight_quantize", "act_quantize")
"""The options that name a class of the user's own."""


@dataclass(frozen=True)
class QuantOptions:
    """Quantization of convolutions and linear layers, in training or after it.

    An option that has no effect beside the others is refused; it reads None.

    Attributes:
        name: `pact`, a clipping range per layer that is trained (Choi et al. 2018, in PaddleSlim's two-sided form);
            `lsq`, a step size per layer that is trained (Esser et al. 2020); `qat`, ranges by observation only; `ptq`,
            ranges from calibration, without training.
        grid: pact. `alpha`: the range is alpha, trained as exported; `moving_average`: PaddleSlim's, clip by alpha,
            then quantize on the moving average of the largest magnitude.
        backend: `native`, or an installed PaddleSlim 2.6.0 (`paddleslim`), for comparison: `pact` as `compat` says, or
            `qat`. What its QAT has no counterpart of is refused.
        compat: with PACT. `paddleslim`: PaddleSlim's grid, start (alpha = 100) and rate (1000 times), literally;
            calibration then changes nothing.
        placement: what is rounded. `layers`: what quantized layers read; `deploy`: every tensor that ONNX Runtime's
            integer graph rounds (sums, activations, pooling, concatenations), batch norms folded, so that this graph
            computes what was trained. 8-bit activations only.
        weight_bits: 2 to 16.
        activation_bits: 2 to 16.
        bits: a budget for the weights, from which each layer gets 2, 4 or 8 bits or stays float, see `BitBudget`; None
            gives all `weight_bits`.
        weight_quantize_type: how the range of a weight is found; the two lsq types are trained. Not for ptq.
        activation_quantize_type: qat, and pact in place of `grid`. How the range of an activation is found.
        weight_preprocess_type: `PACT` clips the weights to a trained range before they are quantized. Not for ptq.
        activation_preprocess_type: `PACT`, which is what `name: pact` means.
        observed_range: how much of what was observed a grid holds, of the moving average of qat and of weights by
            their largest magnitude. `largest`: all of it, as PaddleSlim does; `mse`: the share with the least squared
            error, found by calibration; activations that are never negative then have a one-sided grid. `auto` is
            `mse` up to 4 bits, where the largest value would round nearly all others to zero.
        moving_rate: decay of the moving average.
        window_size: how many batches `range_abs_max` looks back on.
        dtype: `int8`, the only stored type that PaddleSlim knows too; 9 to 16 bits are stored as int16.
        quantizable_layer_type: layer types to quantize; `Conv2D` includes depthwise ones, `depthwise` is only those.
        skip: names, globs or types of layers that stay float; each must match something.
        per_layer: other settings for some layers; a later rule wins.
        unsigned: pact and lsq. The one-sided form, clip(x, 0, alpha) on 2^bits levels: `auto` uses it where the
            calibration data is never negative.
        asymmetric: grids of activations with a zero point anywhere: `auto` where calibration finds that a zero point in
            the middle or at the end costs more than a tenth of a step. Not for `compat` and ranges of PaddleSlim's. In
            training false where `unsigned` is.
        depthwise_ranges: what a depthwise convolution reads, up to 15 bits: a range for each `channel`, which is a sum
            of its own, and one zero point for all; or one range for the `tensor`, the default in training where
            `asymmetric` or `unsigned` is false.
        alpha_init: How calibration chooses alpha: least squared error, or a `percentile` of the magnitudes.
        alpha_percentile: with `alpha_init: percentile`; in percent.
        alpha_learning_rate: learning rate of alpha as a multiple of the optimizer's.
        alpha_weight_decay: decay of alpha, in place of the optimizer's: a step shrinks it by rate times this. AdamW
            takes it as a part of the gradient.
        fuse_conv_bn: fold batch norms into the convolutions before quantizing; ptq does by default.
        onnx_format: what an exported Paddle model holds: integer weights and their scales, or, if false, float weights
            on the grid.
        freeze_bn_epoch: from this epoch on (counted from 1), batch norms keep their running statistics; or `never`.
            Left out, a run chooses, see `slim.quant.frozen_from`, and its record has what it chose.
        observer_epochs: after so many epochs, observed ranges stay as they are.
        activation_quantizer: ptq. PaddleSlim's `KLQuantizer`, `HistQuantizer`, `AbsmaxQuantizer`; `PercentileQuantizer`
            or `MSEQuantizer`, the least squared error.
        weight_quantizer: ptq. `PerChannelAbsmaxQuantizer` or `AbsmaxQuantizer`.
        bins: ptq by KL or histogram. Bins of the histogram.
        upsample_bins: ptq by KL or histogram. Parts into which a bin is split when the range grows.
        hist_percent: ptq by histogram. Fraction of the magnitudes inside the range.
        percentile: ptq by percentile, of each batch's magnitudes; in percent.
        bias_correction: ptq. Shift each bias by the mean error that rounding causes in the layer's output.
        reconstruction: ptq. The rounding of weights is learned layer by layer, see `Reconstruction`; None takes the
            nearest level.
        weight_preprocess: `package.module.Class`, a layer class of the user's own in place of
            `weight_preprocess_type`. A record never has it imported, only what the user gives.
        act_preprocess: the same in place of `activation_preprocess_type`.
        weight_quantize: the same in place of `weight_quantize_type`.
        act_quantize: the same in place of `activation_quantize_type`.
    """

    example: ClassVar[str] = "{name: pact}"

    name: Literal["pact", "lsq", "qat", "ptq"] = "pact"
    grid: Literal["alpha", "moving_average"] | None = None
    backend: Literal["native", "paddleslim"] = "native"
    compat: Literal["paddleslim"] | None = None
    placement: Literal["layers", "deploy"] = "layers"
    weight_bits: int = 8
    activation_bits: int = 8
    bits: BitBudget | None = None
    weight_quantize_type: WeightType | None = None
    activation_quantize_type: Literal["abs_max", "range_abs_max", "moving_average_abs_max"] | None = None
    weight_preprocess_type: Literal["PACT"] | None = None
    activation_preprocess_type: Literal["PACT"] | None = None
    observed_range: Literal["auto", "largest", "mse"] | None = None
    moving_rate: float | None = None
    window_size: int | None = None
    dtype: Literal["int8"] = "int8"
    quantizable_layer_type: tuple[str, ...] = ("Conv2D", "Linear")
    skip: tuple[str, ...] = ()
    per_layer: tuple[LayerRule, ...] = ()
    unsigned: Literal["auto"] | bool | None = None
    asymmetric: Literal["auto"] | bool | None = None
    depthwise_ranges: Literal["channel", "tensor"] | None = None
    alpha_init: Literal["mse", "percentile"] | None = None
    alpha_percentile: float | None = None
    alpha_learning_rate: float | None = None
    alpha_weight_decay: float | None = None
    fuse_conv_bn: bool | None = None
    onnx_format: bool = True
    freeze_bn_epoch: Literal["never"] | int | None = None
    observer_epochs: int | None = None
    activation_quantizer: ActivationRule | None = None
    weight_quantizer: Literal["PerChannelAbsmaxQuantizer", "AbsmaxQuantizer"] | None = None
    bins: int | None = None
    upsample_bins: int | None = None
    hist_percent: float | None = None
    percentile: float | None = None
    bias_correction: bool | None = None
    reconstruction: Reconstruction | None = None
    weight_preprocess: str | None = None
    act_preprocess: str | None = None
    weight_quantize: str | None = None
    act_quantize: str | None = None

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            _check_choice(key, getattr(self, key), choices)
        check_bits(self)
        object.__setattr__(self, "quantizable_layer_type", _layer_types(self.quantizable_layer_type))
        object.__setattr__(self, "skip", names("skip", self.skip))
        object.__setattr__(self, "per_layer", rules(self.per_layer))
        object.__setattr__(
            self, "reconstruction", nested(Reconstruction, "reconstruction", self.reconstruction, "{iterations: 300}")
        )
        object.__setattr__(self, "bits", nested(BitBudget, "bits", self.bits, "{target_bytes: 0.2}"))
        if self.backend == "paddleslim" and (self.name == "pact" or self.weight_preprocess_type):
            object.__setattr__(self, "compat", "paddleslim")
        for key, name in self.classes().items():
            if not (isinstance(name, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", name)):
                raise ConfigError(f"{key}: a class such as package.module.Class is needed, found {shortened(name)}")
        _fill(self)
        for key in RANGES:
            if getattr(self, key) is not None:
                check_number(key, getattr(self, key))
        check_together(self)
        for index, rule in enumerate(self.per_layer):
            try:
                self.with_rule(rule)
            except ConfigError as error:
                raise ConfigError(f"per_layer[{index}]: {error}") from error
        if self.backend == "paddleslim":
            paddleslim.check(self.as_dict())

    @property
    def silent(self) -> Collection[str]:
        """The options that were left to their defaults, of those whose default depends on the others."""
        return self._silent

    def classes(self) -> dict[str, str]:
        """The classes of the user's own, by option."""
        return {key: getattr(self, key) for key in CLASSES if getattr(self, key) is not None}

    def holds_share(self, bits: int) -> bool:
        """Whether an observed range on so many bits holds a share of what was observed; else all of it."""
        return self.observed_range == "mse" or (self.observed_range == "auto" and bits <= FEW_BITS)

    def as_paddleslim(self) -> QuantOptions:
        """The options with ranges as PaddleSlim has them, on any bits, where nothing else was said."""
        theirs = {**PLAIN_GRIDS, "observed_range": "largest"}
        return replace(self, **{key: value for key, value in theirs.items() if key in self.silent})

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
        options = cls(**values)
        # Records from before an option were made without what it does.
        former = {key: value for key, value in _BEFORE.items() if key not in values}
        if "asymmetric" not in values:
            former |= PLAIN_GRIDS
        return replace(options, **{key: value for key, value in former.items() if getattr(options, key) is not None})

    def with_rule(self, rule: LayerRule) -> QuantOptions:
        """The options of a layer that a rule of `per_layer` is for.

        Raises:
            ConfigError: the rule contradicts the other options.
        """
        changes = rule.overrides()
        if self.bins == default_bins(self.activation_bits) and "activation_bits" in changes:
            changes["bins"] = default_bins(changes["activation_bits"])
        return replace(self, **changes, per_layer=())

    def with_bits(self, bits: Mapping[str, int]) -> QuantOptions:
        """The options of a network whose weights have so many bits, by layer; layers in float are left out."""
        if not bits:
            return self
        rounded: dict[int, list[str]] = {}
        for name, count in bits.items():
            rounded.setdefault(count, []).append(name)
        left = rounded.pop(FLOAT, [])
        chosen = [LayerRule(layers=tuple(layers), weight_bits=count) for count, layers in sorted(rounded.items())]
        return replace(self, bits=None, per_layer=(*self.per_layer, *chosen), skip=(*self.skip, *left))


# It is read by pydantic, which then refuses keys that do not exist.
QuantOptions.__pydantic_config__ = {"extra": "forbid"}


def _layer_types(value: Any) -> tuple[str, ...]:
    found = names("quantizable_layer_type", value)
    for name in found:
        if name not in LAYER_TYPES:
            raise ConfigError(f"quantizable_layer_type: {unknown('layer type', name, LAYER_TYPES)}")
    if not found:
        raise ConfigError("quantizable_layer_type: is empty, so nothing would be quantized")
    return found


def _check_choice(key: str, value: Any, choices: tuple[object, ...]) -> None:
    # True equals 1 in Python, and means something else here.
    if not any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices):
        raise ConfigError(
            f"{key}: {unknown('value', value, [str(choice) for choice in choices if choice is not None])}"
        )


def _fill(options: QuantOptions) -> None:
    """Give every option that applies its default, and refuse those that do not apply."""
    applicable = after_training(options) if options.name == "ptq" else in_training(options)
    silent = frozenset(key for key in applicable if getattr(options, key) is None)
    object.__setattr__(options, "_silent", silent)
    for key in _SITUATIONAL:
        value = getattr(options, key)
        if key in applicable:
            object.__setattr__(options, key, applicable[key] if value is None else value)
        elif value is not None:
            raise ConfigError(f"{key}: {shortened(value)} has no effect with {_situation(options, key)}; leave it out")


def _situation(options: QuantOptions, key: str) -> str:
    """The settings that decide whether others apply."""
    deciding = ("grid", "compat", "activation_quantize_type", "weight_quantize_type", "alpha_init")
    parts = [f"{other}: {getattr(options, other)}" for other in deciding if other != key and getattr(options, other)]
    return ", ".join([f"name: {options.name}", *parts])


def _values(hint: Any) -> tuple[object, ...]:
    """Every value of a type that has a list of them, else nothing."""
    if hint in (bool, NoneType):
        return (True, False) if hint is bool else (None,)
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [_values(part) for part in get_args(hint)] if get_origin(hint) in (Union, UnionType) else []
    return tuple(value for part in parts for value in part) if all(parts) else ()


_CHOICES = {key: values for key, hint in get_type_hints(QuantOptions).items() if (values := _values(hint))}
# Everything that applies in some situations only; the other options always do.
_SITUATIONAL = tuple(
    field.name for field in fields(QuantOptions) if field.default is None and field.name not in CLASSES
)
_BEFORE: dict[str, Any] = {"observed_range": "largest"}

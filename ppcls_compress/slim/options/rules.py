"""Which layers a quantization option is about, and rules that give some of them settings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

from ppcls_compress.errors import ConfigError, shortened, unknown

LAYER_TYPES = ("Conv2D", "Conv2DTranspose", "Linear", "depthwise")


class HasBits(Protocol):
    """Options or a rule of `per_layer`."""

    weight_bits: int | None
    activation_bits: int | None


@dataclass(frozen=True)
class LayerRule:
    """Other settings for some layers; what is left out keeps the value of the section.

    Attributes:
        layers: names (`blocks.0.conv1`), globs (`blocks.*.conv1`), types (`Linear`, `depthwise`), or `first` and
            `last`, the first and the last quantizable layer.
        weight_bits: 2 to 16.
        activation_bits: 2 to 16.
        unsigned: the one-sided form for the input; pact and lsq.
    """

    layers: tuple[str, ...]
    weight_bits: int | None = None
    activation_bits: int | None = None
    unsigned: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", names("layers", self.layers))
        if not self.layers:
            raise ConfigError("layers: names no layer; give names, globs or types")
        if not self.overrides():
            allowed = ", ".join(field.name for field in fields(self) if field.name != "layers")
            raise ConfigError(f"layers: the rule for {', '.join(self.layers)} changes nothing; set one of {allowed}")
        check_bits(self)

    def overrides(self) -> dict[str, Any]:
        """The settings that this rule changes."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "layers"}
        return {key: value for key, value in values.items() if value is not None}


# It is read by pydantic, which then refuses keys that do not exist.
LayerRule.__pydantic_config__ = {"extra": "forbid"}


Nested = TypeVar("Nested")


def nested(kind: type[Nested], key: str, value: Any, example: str) -> Nested | None:
    """Options that stand under a key of other options, from what a record or a call gives.

    Args:
        kind: their dataclass.
        key: for messages.
        value: None, the options themselves, or a mapping of their keys.
        example: a mapping as a user writes it, for messages.

    Raises:
        ConfigError: `value` is something else, or has a key that they do not have.
    """
    if value is None or isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: a mapping such as {example} is needed, found {shortened(value)}")
    known = [field.name for field in fields(kind)]
    for name in value:
        if name not in known:
            raise ConfigError(f"{key}: {unknown('key', name, known)}")
    return kind(**value)


def names(key: str, value: Any) -> tuple[str, ...]:
    """A list of names as a tuple.

    Raises:
        ConfigError: `value`, which `key` gives, is something else.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{key}: a list of layer names, globs or types is needed, found {shortened(value)}")
    return tuple(value)


def rules(value: Any) -> tuple[LayerRule, ...]:
    """A list of rules, or of dictionaries that describe them, as a tuple.

    Raises:
        ConfigError: `value` is something else.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"per_layer: a list of rules such as {{layers: [first], weight_bits: 8}}, found {shortened(value)}"
        )
    return tuple(_rule(index, item) for index, item in enumerate(value))


def _rule(index: int, value: Any) -> LayerRule:
    if isinstance(value, LayerRule):
        return value
    known = [field.name for field in fields(LayerRule)]
    try:
        if not isinstance(value, Mapping):
            raise ConfigError(f"a rule such as {{layers: [first], weight_bits: 8}} is needed, found {shortened(value)}")
        for key in value:
            if key not in known:
                raise ConfigError(unknown("key", key, known))
        return LayerRule(**{"layers": (), **value})
    except ConfigError as error:
        raise ConfigError(f"per_layer[{index}]: {error}") from None


def check_bits(options: HasBits) -> None:
    """Refuse bit widths that no quantizer has.

    Raises:
        ConfigError: one is not a whole number from 2 to 16.
    """
    for key in ("weight_bits", "activation_bits"):
        bits = getattr(options, key)
        if bits is None and isinstance(options, LayerRule):
            continue
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 16:
            raise ConfigError(f"{key}: {shortened(bits)} is not a whole number from 2 to 16")

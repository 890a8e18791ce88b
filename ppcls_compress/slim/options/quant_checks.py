"""What options of `Slim.quant` cannot be beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.options.applicable import Given
from ppcls_compress.slim.options.rules import LayerRule


class Filled(Given, Protocol):
    """`QuantOptions` whose defaults are filled in, as far as they are looked at here."""

    weight_bits: int
    bits: Any
    bins: int | None
    observed_range: str | None
    observer_epochs: int | None
    fuse_conv_bn: bool | None
    freeze_bn_epoch: str | int | None
    reconstruction: Any
    per_layer: Sequence[LayerRule]


def check_together(options: Filled) -> None:
    """Refuse options each of which could be, but not all.

    Raises:
        ConfigError: names one of them, and what it does not fit.
    """
    _check_grids(options)
    _check_asymmetric(options)
    _check_classes(options)
    if options.compat and options.observer_epochs == 0:
        raise ConfigError("observer_epochs: 0 would keep compat: paddleslim's start, which knows no data")
    if options.placement == "deploy":
        _check_deploy(options)


def _check_grids(options: Filled) -> None:
    bits, least = options.activation_bits, 2**options.activation_bits
    if options.activation_quantizer == "KLQuantizer" and options.bins < least:
        raise ConfigError(f"bins: {options.bins} are too few for {bits} bits, at least {least} are needed")
    if options.unsigned is True and bits == 16:
        raise ConfigError("unsigned: an unsigned grid has at most 15 bits, and activation_bits is 16")
    if options.observed_range == "mse" and bits == 16 and options.name == "qat":
        raise ConfigError("observed_range: mse has at most 15 bits, and activation_bits is 16")


def _check_classes(options: Filled) -> None:
    for key in ("weight_preprocess", "weight_quantize"):
        if options.bits and getattr(options, key):
            raise ConfigError(f"bits: are of this package's grids, and {key} is a class of yours; leave one out")
        if options.reconstruction and getattr(options, key):
            raise ConfigError(f"reconstruction: rounds weights itself, and {key} is a class of yours; leave one out")


def _check_asymmetric(options: Filled) -> None:
    if options.asymmetric is not True:
        return
    if options.activation_bits == 16:
        raise ConfigError("asymmetric: an asymmetric grid has at most 15 bits, and activation_bits is 16")
    if isinstance(options.unsigned, bool):
        raise ConfigError(f"unsigned: {options.unsigned} fixes the zero point, which asymmetric: true leaves free")


def _check_deploy(options: Filled) -> None:
    """Refuse what the integer graph of `placement: deploy` cannot hold."""
    if not options.fuse_conv_bn:
        raise ConfigError("fuse_conv_bn: placement: deploy trains with the batch norms folded; leave fuse_conv_bn out")
    if options.freeze_bn_epoch is not None:
        raise ConfigError("freeze_bn_epoch: placement: deploy trains with the batch norms folded; leave it out")
    for bits in (options, *options.per_layer):
        if bits.activation_bits not in (None, 8):
            raise ConfigError(f"activation_bits: placement: deploy needs 8, found {bits.activation_bits}")
        if bits.weight_bits is not None and bits.weight_bits > 8:
            raise ConfigError(f"weight_bits: placement: deploy needs at most 8, found {bits.weight_bits}")
    if any(rule.unsigned is not None for rule in options.per_layer):
        raise ConfigError("per_layer: unsigned: placement: deploy has ranges of tensors that several layers share")
    if options.grid == "moving_average" or options.activation_quantize_type == "abs_max":
        key = "grid" if options.grid == "moving_average" else "activation_quantize_type"
        raise ConfigError(
            f"{key}: placement: deploy needs one fixed range per tensor, {getattr(options, key)} has none"
        )
    if options.name == "pact" and options.activation_quantize_type is not None:
        two = f"pact with {options.activation_quantize_type} has two; use grid: alpha"
        raise ConfigError(f"activation_quantize_type: placement: deploy needs one fixed range per tensor, and {two}")

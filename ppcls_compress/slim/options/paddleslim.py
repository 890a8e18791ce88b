"""What `Slim.quant.backend: paddleslim` cannot do, told before Paddle is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from ppcls_compress.errors import ConfigError

# PaddleSlim 2.6.0 lists more types, and hands them over to Paddle, whose version 3.3.1 refuses them.
_TYPES = {
    "name": ("pact", "qat"),
    "weight_quantize_type": ("channel_wise_abs_max", "abs_max"),
    "activation_quantize_type": ("moving_average_abs_max",),
}
_WITHOUT_COUNTERPART = ("per_layer", "freeze_bn_epoch", "observer_epochs")


def check(options: Mapping[str, object]) -> None:
    """Refuse what PaddleSlim's QAT has no counterpart of.

    Args:
        options: those of `QuantOptions`, by name.

    Raises:
        ConfigError: such an option is set.
    """
    for key, types in _TYPES.items():
        value = options[key]
        if value not in types:
            raise ConfigError(f"{key}: backend paddleslim has no {value}; it has {', '.join(types)}")
    for key in _WITHOUT_COUNTERPART:
        if options.get(key) not in (None, ()):
            raise ConfigError(f"{key}: backend paddleslim has nothing like it; leave it out")
    if options.get("depthwise_ranges") == "channel":
        raise ConfigError("depthwise_ranges: backend paddleslim has no range per channel; leave it out")
    if options["placement"] != "layers":
        raise ConfigError(f"placement: backend paddleslim has no {options['placement']}; it rounds what layers read")
    if options["fuse_conv_bn"]:
        raise ConfigError(
            "fuse_conv_bn: backend paddleslim folds the batch norms of a copy and trains the network unfolded; "
            "leave it out"
        )

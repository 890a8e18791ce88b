"""Doubts about few bits."""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config
from ppcls_compress.slim.options.quant import QuantOptions

_FEW = 3


def about_ranges(config: Config) -> Iterator[str]:
    """The largest value of a batch is no range for a handful of levels: nearly all others round to zero."""
    options = config.Slim.quant if config.Slim else None
    if options is None or options.name != "qat" or options.backend != "native":
        return
    for where, own in (("", options), *_ruled(options)):
        held = own.holds_share(own.activation_bits) and own.activation_quantize_type == "moving_average_abs_max"
        if own.activation_bits <= _FEW and not held:
            yield (
                f"Slim.quant.{where}activation_bits: {own.activation_bits} bits reach to the largest value of a batch "
                f"({_cause(own)}), so nearly all others round to zero and the network may learn nothing; "
                "observed_range: mse with activation_quantize_type: moving_average_abs_max holds the share that rounds "
                "best, and name: lsq or pact trains it"
            )


def _ruled(options: QuantOptions) -> Iterator[tuple[str, QuantOptions]]:
    for index, rule in enumerate(options.per_layer):
        if rule.activation_bits is not None:
            yield f"per_layer[{index}].", options.with_rule(rule)


def _cause(options: QuantOptions) -> str:
    if options.activation_quantize_type != "moving_average_abs_max":
        return f"activation_quantize_type: {options.activation_quantize_type}"
    return f"observed_range: {options.observed_range}"

"""Which options of `Slim.quant` apply beside the others, and with which defaults."""

from __future__ import annotations

from typing import Any, Protocol

from ppcls_compress.errors import ConfigError

_OBSERVED = ("moving_average_abs_max", "range_abs_max")
FITTING_GRIDS = {"asymmetric": "auto", "depthwise_ranges": "channel"}
"""Grids as the values ask for them."""
PLAIN_GRIDS = {"asymmetric": False, "depthwise_ranges": "tensor"}
"""Grids as every runtime takes them, and as PaddleSlim has them."""


class Given(Protocol):
    """Those of `QuantOptions` that decide which others apply."""

    name: str
    grid: str | None
    backend: str
    compat: str | None
    placement: str
    activation_bits: int
    weight_quantize_type: str | None
    activation_quantize_type: str | None
    weight_preprocess_type: str | None
    alpha_init: str | None
    activation_quantizer: str | None
    unsigned: Any
    asymmetric: Any


def after_training(options: Given) -> dict[str, Any]:
    """The options that apply to ptq, with their defaults."""
    found: dict[str, Any] = {
        "activation_quantizer": options.activation_quantizer or "KLQuantizer",
        "weight_quantizer": "PerChannelAbsmaxQuantizer",
        "bias_correction": True,
        "reconstruction": None,
        "bits": None,
        "fuse_conv_bn": True,
        **FITTING_GRIDS,
    }
    if found["activation_quantizer"] in ("KLQuantizer", "HistQuantizer"):
        found |= {"bins": default_bins(options.activation_bits), "upsample_bins": 64}
    if found["activation_quantizer"] == "HistQuantizer":
        found["hist_percent"] = 0.99999
    if found["activation_quantizer"] == "PercentileQuantizer":
        found["percentile"] = 99.99
    return found


def default_bins(bits: int) -> int:
    """How many bins a histogram has for a grid of so many bits."""
    return max(1024, 2**bits)


def in_training(options: Given) -> dict[str, Any]:
    """The options that apply to training with quantizers, with their defaults."""
    weight = options.weight_quantize_type
    weight = weight or ("channel_wise_lsq_weight" if options.name == "lsq" else "channel_wise_abs_max")
    found: dict[str, Any] = {
        "weight_quantize_type": weight,
        "weight_preprocess_type": None,
        "fuse_conv_bn": options.placement == "deploy",
        "freeze_bn_epoch": None,
    }
    if options.backend == "native":
        found["bits"] = None
    if options.weight_preprocess_type:
        found["compat"] = None
    kind = options.activation_quantize_type
    if options.name == "pact":
        found |= _pact(options)
        kind = found.get("activation_quantize_type")
    if options.name == "qat":
        kind = found["activation_quantize_type"] = kind or "moving_average_abs_max"
    if options.name == "lsq":
        kind, found["unsigned"] = None, "auto"
    if "PACT" in (found.get("activation_preprocess_type"), options.weight_preprocess_type) and not options.compat:
        found |= {"alpha_init": "mse", "alpha_learning_rate": 1.0, "alpha_weight_decay": 1e-4}
        if options.alpha_init == "percentile":
            found["alpha_percentile"] = 99.99
    if not options.compat and (options.name == "lsq" or found.get("grid") == "alpha" or _observes_ends(options, kind)):
        # Who fixes the zero point has a runtime in mind that takes no other, and one range for each tensor.
        plain = options.asymmetric is False or options.unsigned is False
        found |= PLAIN_GRIDS if plain else FITTING_GRIDS
    if _observes_ends(options, kind) or _observes_weight(options, weight):
        found["observed_range"] = "auto"
    if "moving_average_abs_max" in (kind, weight):
        found["moving_rate"] = 0.9
    if "range_abs_max" in (kind, weight):
        found["window_size"] = 10000
    if kind in _OBSERVED or weight in _OBSERVED:
        found["observer_epochs"] = None
    return found


def _observes_ends(options: Given, kind: str | None) -> bool:
    return options.name == "qat" and kind == "moving_average_abs_max" and options.backend == "native"


def _observes_weight(options: Given, kind: str) -> bool:
    alone = not options.weight_preprocess_type and not options.compat and options.backend == "native"
    return alone and kind in ("channel_wise_abs_max", "abs_max")


def _pact(options: Given) -> dict[str, Any]:
    found: dict[str, Any] = {"activation_preprocess_type": "PACT", "compat": None}
    kind = options.activation_quantize_type
    if options.compat:
        found |= {"grid": "moving_average", "activation_quantize_type": "moving_average_abs_max"}
        if options.grid == "alpha":
            raise ConfigError("grid: alpha contradicts compat: paddleslim, which clips and then quantizes")
        return found
    if kind in ("abs_max", "range_abs_max"):
        if options.grid is not None:
            raise ConfigError(f"grid: {options.grid} contradicts activation_quantize_type: {kind}; leave one out")
        return found | {"activation_quantize_type": kind}
    if kind == "moving_average_abs_max" and options.grid == "alpha":
        raise ConfigError("grid: alpha has no moving average; leave activation_quantize_type out")
    found["unsigned"] = "auto"
    found["grid"] = options.grid or ("moving_average" if kind else "alpha")
    if found["grid"] == "moving_average":
        found["activation_quantize_type"] = "moving_average_abs_max"
    return found

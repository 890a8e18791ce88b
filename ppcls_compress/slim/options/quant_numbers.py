"""What numbers the options of `Slim.quant` may be, whatever the others are."""

from __future__ import annotations

from typing import Any

from ppcls_compress.errors import ConfigError, shortened


def check_number(key: str, value: Any) -> None:
    """Refuse a number that an option cannot be, whatever the others are.

    Raises:
        ConfigError: `value` is of another type, or out of range.
    """
    allowed, kinds, holds = RANGES[key]
    if isinstance(value, bool) or not isinstance(value, kinds) or not holds(value):
        raise ConfigError(f"{key}: {shortened(value)} is not {allowed}")


def _is_epoch(value: int | str) -> bool:
    return value == "never" if isinstance(value, str) else value >= 1


_NUMBER = (int, float)
RANGES: dict[str, tuple[str, Any, Any]] = {
    "moving_rate": ("a number above 0 and below 1", _NUMBER, lambda value: 0 < value < 1),
    "window_size": ("a whole number from 1", int, lambda value: value >= 1),
    "alpha_percentile": ("a number above 50 and up to 100", _NUMBER, lambda value: 50 < value <= 100),
    "alpha_learning_rate": ("a finite number from 0", _NUMBER, lambda value: 0 <= value < float("inf")),
    "alpha_weight_decay": ("a finite number from 0", _NUMBER, lambda value: 0 <= value < float("inf")),
    "freeze_bn_epoch": ("a whole number from 1, or never", (int, str), _is_epoch),
    "observer_epochs": ("a whole number from 0", int, lambda value: value >= 0),
    "bins": ("a whole number from 128", int, lambda value: value >= 128),
    "upsample_bins": ("a whole number from 1", int, lambda value: value >= 1),
    "hist_percent": ("a number above 0.5 and below 1", _NUMBER, lambda value: 0.5 < value < 1),
    "percentile": ("a number above 50 and up to 100", _NUMBER, lambda value: 50 < value <= 100),
}
"""By option: what is allowed in words, the types, and a test."""

"""Options of `Slim.quant.reconstruction`. Imports without Paddle."""

from __future__ import annotations

from dataclasses import dataclass

from ppcls_compress.errors import ConfigError, shortened


@dataclass(frozen=True)
class Reconstruction:
    """How the rounding of weights is learned, layer by layer, from what each layer reads and should give.

    Attributes:
        iterations: steps of AdaRound for each layer.
        lr: the learning rate of these steps.
        positions: places of an image that stand for all, in each layer.
        damping: how much the float weight counts beside the images, as a share of the mean power of what a layer reads.
    """

    iterations: int = 300
    lr: float = 0.1
    positions: int = 128
    damping: float = 0.03

    def __post_init__(self) -> None:
        for key in ("iterations", "positions"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"reconstruction.{key}: {shortened(value)} is not a whole number from 1")
        for key in ("lr", "damping"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigError(f"reconstruction.{key}: {shortened(value)} is not a finite number above 0")


# It is read by pydantic, which then refuses keys that do not exist.
Reconstruction.__pydantic_config__ = {"extra": "forbid"}

"""The grid that a tensor is rounded to, as an exporter needs it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer


@dataclass(frozen=True)
class InputGrid:
    """The grid of a layer's input: integers `low` .. `high` times limit / high, and times a factor for each channel.

    Attributes:
        limit: the largest value, that of the widest channel; None when it is found anew for each batch.
        bits: 2 to 16.
        unsigned: whether all levels are non-negative.
        full_range: whether the lowest signed integer is used; halves then round to even, otherwise away from zero.
        clip: the range that the input is clipped to before it is rounded, if that is another.
        zero_point: on which of the integers 0 .. 2^bits - 1 zero lies, if neither on the lowest nor in the middle.
        factors: of each channel, above 0 and up to 1; None for one grid.
    """

    limit: float | None
    bits: int
    unsigned: bool
    full_range: bool
    clip: float | None = None
    zero_point: int | None = None
    factors: tuple[float, ...] | None = None

    @property
    def high(self) -> int:
        """The largest integer, counted from that of zero."""
        if self.zero_point is not None:
            return 2**self.bits - 1 - self.zero_point
        return fake_quant.levels(self.bits, self.unsigned)

    @property
    def low(self) -> int:
        """The smallest integer, counted from that of zero."""
        if self.zero_point is not None:
            return -self.zero_point
        return 0 if self.unsigned else -self.high - self.full_range

    @property
    def scale(self) -> float | None:
        """What an integer is multiplied by."""
        return None if self.limit is None else self.limit / self.high

    @property
    def scales(self) -> np.ndarray:
        """What an integer is multiplied by, float32 [channels], or [1] for one grid."""
        factors = [1.0] if self.factors is None else self.factors
        return (self.scale * np.asarray(factors, np.float64)).astype(np.float32)

    def plain(self) -> InputGrid:
        """The grid that holds the same values where zero may lie only on the lowest integer or in the middle."""
        if self.zero_point is not None:
            limit = max(self.limit, -self.low * self.scale)
            return replace(self, limit=limit, zero_point=None, factors=None)
        return replace(self, factors=None)


def quantizer_grid(quantizer: ActivationQuantizer) -> InputGrid:
    """The grid of a quantizer that is by itself, as evaluation uses it.

    Raises:
        UserError: it is not calibrated.
    """
    zero_point, factors = quantizer.zero_point, quantizer.factors()
    return InputGrid(
        quantizer.limit(),
        quantizer.bits,
        quantizer.unsigned,
        quantizer.full_range,
        zero_point=None if zero_point in (0, 2 ** (quantizer.bits - 1)) else zero_point,
        factors=None if factors is None else tuple(factors.tolist()),
    )

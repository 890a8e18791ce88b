"""The grid that a tensor is rounded to, as an exporter needs it."""

from __future__ import annotations

from dataclasses import dataclass

from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer


@dataclass(frozen=True)
class InputGrid:
    """The grid of a layer's input: integers `low` .. `high` times limit / high.

    Attributes:
        limit: the largest value, or None when it is found anew for each batch.
        bits: 2 to 16.
        unsigned: whether all levels are non-negative.
        full_range: whether the lowest signed integer is used; halves then round to even, otherwise away from zero.
        clip: the range that the input is clipped to before it is rounded, if that is another.
    """

    limit: float | None
    bits: int
    unsigned: bool
    full_range: bool
    clip: float | None = None

    @property
    def high(self) -> int:
        """The largest integer."""
        return fake_quant.levels(self.bits, self.unsigned)

    @property
    def low(self) -> int:
        """The smallest integer."""
        return 0 if self.unsigned else -self.high - self.full_range

    @property
    def scale(self) -> float | None:
        """What an integer is multiplied by."""
        return None if self.limit is None else self.limit / self.high


def quantizer_grid(quantizer: ActivationQuantizer) -> InputGrid:
    """The grid of a quantizer that is by itself, as evaluation uses it.

    Raises:
        UserError: it is not calibrated.
    """
    return InputGrid(quantizer.limit(), quantizer.bits, quantizer.unsigned, quantizer.full_range)

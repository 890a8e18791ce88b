"""Options of `Slim.quant.bits`. Imports without Paddle."""

from __future__ import annotations

from dataclasses import dataclass

from ppcls_compress.errors import ConfigError, shortened

FLOAT = 32
"""The bits of what stays float."""
CHOICES = (2, 4, 8, FLOAT)


@dataclass(frozen=True)
class BitBudget:
    """How much the weights may take; one of the two.

    Attributes:
        target_bytes: share of the bytes of the float weights, each weight packed in its bits, of the layers that can be
            quantized.
        target_bit_operations: share of the bit operations (multiply-adds times bits of weight times bits of
            activation) of these layers in float, 32 bits each.
    """

    target_bytes: float | None = None
    target_bit_operations: float | None = None

    def __post_init__(self) -> None:
        given = {key: value for key, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ConfigError(f"bits: one of target_bytes and target_bit_operations is needed, found {len(given)}")
        ((key, value),) = given.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ConfigError(f"bits.{key}: {shortened(value)} is not a share above 0 and below 1")

    @property
    def key(self) -> str:
        """Which of the two is given."""
        return "target_bytes" if self.target_bytes is not None else "target_bit_operations"

    @property
    def share(self) -> float:
        """Its value."""
        return getattr(self, self.key)


# It is read by pydantic, which then refuses keys that do not exist.
BitBudget.__pydantic_config__ = {"extra": "forbid"}

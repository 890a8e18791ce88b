"""What the writer of a format tells: which layers hold integers, and lines for the user that several formats have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Written:
    """What the writer of a format wrote.

    Attributes:
        quantized: names of the layers whose weights are integers.
        notes: lines for the user, about what stays float or differs from training.
    """

    quantized: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def binding(layer: str, alpha: float, limit: float) -> str:
    """A learned range is narrower than the grid that the layer's input is rounded to."""
    return f"{layer}: alpha {alpha:.4g} binds, it is below the observed range {limit:.4g}; clipped first"

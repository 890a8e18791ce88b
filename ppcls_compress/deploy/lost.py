"""Before which layer most of what was trained is lost, of what each layer reads in the network and in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

EXACT = 200.0
"""Decibels of what is equal."""
CLEAN = 40.0
"""Above so many decibels a tensor is what was trained, but for ties."""
_LOST = 6.0
"""What has to be lost to be worth a word."""


@dataclass(frozen=True)
class Read:
    """What a layer reads.

    Attributes:
        layer: structured name.
        kept: decibels, the power of what was trained over that of its difference from the file's.
        reach: the largest magnitude in float.
        limit: where its range ends; None where that is found for each batch.
    """

    layer: str
    kept: float
    reach: float
    limit: float | None


def decibels(signal: np.ndarray, other: np.ndarray) -> float:
    """The power of an array over that of its difference from another; -`EXACT` for another shape."""
    if signal.shape != other.shape:
        return -EXACT
    power, noise = (float(np.square(array, dtype=np.float64).sum()) for array in (signal, signal - other))
    if noise == 0:
        return EXACT
    return -EXACT if power == 0 else float(10 * np.log10(power / noise))


def most(read: Iterable[Read]) -> tuple[str, str] | None:
    """The layer before which most is lost, and that in words; None where no loss stands out.

    Args:
        read: in the order of the forward pass.
    """
    before, steps = CLEAN, {}
    for each in read:
        steps[each] = before - min(each.kept, CLEAN)
        before = min(each.kept, before)
    worst = max(steps, key=steps.get, default=None)
    if worst is None or steps[worst] < _LOST:
        return None
    reach = f"it reads up to {worst.reach:.3g}"
    reach = reach if worst.limit is None else f"its range ends at {worst.limit:.3g}, and {reach}"
    return worst.layer, (
        f"most is lost before {worst.layer}: what it reads is {worst.kept:.0f} dB of what was trained, "
        f"{worst.kept + steps[worst]:.0f} dB before it; {reach}"
    )

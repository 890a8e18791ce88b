"""What changes during a run: one value for each of its equal parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def stage(values: Sequence[T], epoch: int, epochs: int) -> T:
    """The value of the part of a run in which an epoch, counted from 0, lies.

    A part ends with the epoch in which its share of the run is full, as PaddleClas has it: of 10 epochs and 4 values
    the parts are 2, 3, 2 and 3 epochs long.
    """
    ends = [epochs * (number + 1) // len(values) for number in range(len(values) - 1)]
    return values[sum(epoch >= end for end in ends)]

"""What a loss declares, and the registry of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ppcls_compress.declare import Declarations, NonNegative, Options

if TYPE_CHECKING:
    import paddle

LossFunction = Callable[["paddle.Tensor", "paddle.Tensor"], "paddle.Tensor"]
"""Logits [N, C] and labels ([N] or [N, C]) to a scalar."""
TrainingLoss = Callable[["paddle.Tensor", "paddle.Tensor", "paddle.Tensor"], "paddle.Tensor"]
"""The same, and the images [N, C, H, W], which a teacher wants to see."""


class Loss(Options):
    """One term of the `Loss` section, which counts `weight` times."""

    weight: NonNegative = 1.0

    def build(self) -> LossFunction:
        """The loss as a function; Paddle is imported here and not before."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


LOSSES: Declarations[Loss] = Declarations("loss")

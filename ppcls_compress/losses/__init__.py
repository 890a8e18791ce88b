"""Training losses, one small file each.

A new loss: a file here with an options class that builds it, decorated with `@LOSSES.declare`, and its line in
`_FILES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppcls_compress.losses import cross_entropy
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction, TrainingLoss

if TYPE_CHECKING:
    import paddle

__all__ = ["LOSSES", "Loss", "LossFunction", "TrainingLoss", "build_loss"]

_FILES = (cross_entropy,)


def build_loss(terms: Sequence[Loss]) -> LossFunction:
    """The weighted sum of the listed losses, as one function of logits [N, C] and labels ([N] or [N, C])."""
    functions = [(term.weight, term.build()) for term in terms]

    def total(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        return sum(weight * function(logits, labels) for weight, function in functions)

    return total

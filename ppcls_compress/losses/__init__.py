"""Training losses, one small file each.

A new loss: a function `(logits, labels, **options) -> scalar` in a file here, an options class and a key in
`config.sections.LossEntry`, and a line in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle

from ppcls_compress.config.sections import LossEntry
from ppcls_compress.losses.cross_entropy import cross_entropy

LossFunction = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]
"""Logits [N, C] and labels ([N] or [N, C]) to a scalar."""
TrainingLoss = Callable[[paddle.Tensor, paddle.Tensor, paddle.Tensor], paddle.Tensor]
"""The same, and the images [N, C, H, W], which a teacher wants to see."""

LOSSES: dict[str, Callable[..., paddle.Tensor]] = {"CELoss": cross_entropy, "MixCELoss": cross_entropy}


def build_loss(entries: Sequence[LossEntry]) -> LossFunction:
    """The weighted sum of the listed losses, as one function of logits [N, C] and labels ([N] or [N, C])."""
    terms = [(LOSSES[entry.name], entry.options.weight, entry.options.epsilon) for entry in entries]

    def total(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        return sum(weight * function(logits, labels, epsilon=epsilon) for function, weight, epsilon in terms)

    return total

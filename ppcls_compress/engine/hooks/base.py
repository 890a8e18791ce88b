"""The calls that a hook may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    from ppcls_compress.engine.training import Training


@dataclass(frozen=True)
class Batch:
    """One training batch and what came of it.

    Attributes:
        index: position in the epoch, from 0.
        images: [N, C, H, W].
        labels: class indices [N], an identity and more [N, k], or probabilities [N, classes].
        output: of the network, as it is.
        loss: a scalar.
        terms: what the loss is the sum of, by name; after the step, also what else was learned from.
    """

    index: int
    images: paddle.Tensor
    labels: paddle.Tensor
    output: Output
    loss: paddle.Tensor
    terms: dict[str, paddle.Tensor]


class Hook:
    """Something that happens around training steps; every method does nothing unless overridden."""

    def before_training(self, trainer: Training) -> None:
        """Once, before the first epoch."""

    def before_epoch(self, trainer: Training) -> None:
        """Before the first batch of an epoch; `trainer.progress.epoch` epochs are completed."""

    def after_backward(self, trainer: Training, batch: Batch) -> None:
        """After each batch's backward pass, before the optimizer's step that may follow."""

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """After each batch."""

    def after_epoch(self, trainer: Training) -> None:
        """After the last batch of an epoch; `trainer.progress.epoch` counts it already."""

    def after_training(self, trainer: Training) -> None:
        """Once, at the end, also when training was cut short by an error."""

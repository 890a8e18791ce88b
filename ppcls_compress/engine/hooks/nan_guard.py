"""Stops a run whose loss or weights are no longer numbers, before it can overwrite a good checkpoint."""

from __future__ import annotations

import paddle

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError
from ppcls_compress.slim.finite import first_not_finite, not_finite

_ADVICE = "The last checkpoint is kept; lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
_MOVED_ON = " (or an earlier one: the weights were updated before the loss was looked at)"


class NanGuard(Hook):
    """Checks the loss, and at the end of each epoch the weights too; to be listed before evaluation and checkpoints.

    On a CPU each loss is checked before the optimizer's step: a spoiled step reaches every weight, and the layer where
    it began could no longer be told. Elsewhere reading a loss waits for the device.

    Args:
        every: batches between two checks of the loss where each one would wait for the device.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._worst: paddle.Tensor | None = None
        self._images: paddle.Tensor | None = None

    def after_backward(self, trainer: Training, batch: Batch) -> None:
        """Check the loss, or add it to a sum, which stays NaN or infinite once one of its terms is."""
        self._images = batch.images
        self._worst = batch.loss if self._worst is None else self._worst + batch.loss
        if batch.loss.place.is_cpu_place():
            self._check_loss(trainer, f"epoch {trainer.progress.epoch + 1}, batch {batch.index + 1}")

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Every few batches, look at the sum."""
        if (batch.index + 1) % self._every == 0:
            self._check_loss(trainer, f"epoch {trainer.progress.epoch + 1}, batch {batch.index + 1}", _MOVED_ON)

    def after_epoch(self, trainer: Training) -> None:
        """The last losses, and what a checkpoint would hold: a ReLU on a CPU makes NaN 0, so the loss may not tell."""
        self._check_loss(trainer, f"epoch {trainer.progress.epoch}", _MOVED_ON)
        broken = not_finite(trainer.model.state_dict())
        if broken:
            raise UserError(
                f"training stopped after epoch {trainer.progress.epoch}: the loss is finite, but these weights are "
                f"not: {_shortened(broken)}. {_ADVICE}"
            )

    def _check_loss(self, trainer: Training, when: str, remark: str = "") -> None:
        total, self._worst = self._worst, None
        if total is None or bool(paddle.isfinite(total)):
            return
        culprit = first_not_finite(trainer.model, self._images)
        raise UserError(
            f"training stopped in {when}: the loss is not finite; first layer with such values: {culprit}{remark}. "
            f"{_ADVICE}"
        )


def _shortened(names: list[str]) -> str:
    """The last three: gradients carry NaN from the layer where it began to those before it."""
    rest = len(names) - 3
    return ", ".join(reversed(names[-3:])) + (f" and {rest} more" if rest > 0 else "")

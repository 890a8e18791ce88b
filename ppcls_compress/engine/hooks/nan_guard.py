"""Stops a run whose loss is no longer a number, before it can overwrite a good checkpoint."""

from __future__ import annotations

import paddle

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.errors import UserError


class NanGuard(Hook):
    """Checks the loss every `every` batches and at the end of each epoch; to be listed before the checkpoints."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._worst: paddle.Tensor | None = None
        self._images: paddle.Tensor | None = None

    def after_batch(self, trainer: Trainer, batch: Batch) -> None:
        """Add the loss to a sum, which stays NaN or infinite once one of its terms is."""
        self._worst = batch.loss if self._worst is None else self._worst + batch.loss
        self._images = batch.images
        if (batch.index + 1) % self._every == 0:
            self._check(trainer, f"epoch {trainer.progress.epoch + 1}, batch {batch.index + 1}")

    def after_epoch(self, trainer: Trainer) -> None:
        """The last batches of the epoch."""
        self._check(trainer, f"epoch {trainer.progress.epoch}")

    def _check(self, trainer: Trainer, when: str) -> None:
        total, self._worst = self._worst, None
        if total is None or bool(paddle.isfinite(total)):
            return
        culprit = first_not_finite(trainer.model, self._images)
        raise UserError(
            f"training stopped in {when}: the loss is not finite; first layer with such values: {culprit}. "
            "The last checkpoint is kept; lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
        )


def first_not_finite(model: paddle.nn.Layer, images: paddle.Tensor) -> str:
    """The first layer, in the order of execution, with a NaN or infinity in its parameters or its output."""
    found: list[str] = []

    def watch(name: str) -> object:
        def hook(layer: paddle.nn.Layer, inputs: object, output: object) -> None:
            if found:
                return
            for key, parameter in layer.named_parameters(include_sublayers=False):
                if not bool(paddle.isfinite(parameter).all()):
                    found.append(f"{name} (its parameter {key})")
                    return
            if isinstance(output, paddle.Tensor) and not bool(paddle.isfinite(output).all()):
                found.append(f"{name} (its output)")

        return hook

    leaves = [(name, layer) for name, layer in model.named_sublayers() if not list(layer.children())]
    handles = [layer.register_forward_post_hook(watch(name)) for name, layer in leaves]
    was_training = model.training
    try:
        model.eval()
        with paddle.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
        if was_training:
            model.train()
    return found[0] if found else "none in this batch (the loss itself overflowed)"

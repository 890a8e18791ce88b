"""Stops a run whose loss or weights are no longer numbers, before it can overwrite a good checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import paddle

from ppcls_compress.engine.distributed import world_size
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError

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


def not_finite(tensors: dict[str, paddle.Tensor]) -> list[str]:
    """The names of those that hold a NaN or an infinity; the device is waited for once."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floats:
        return []
    fine = paddle.stack([paddle.isfinite(tensor).all() for tensor in floats.values()]).numpy()
    return [name for name, is_fine in zip(floats, fine, strict=True) if not is_fine]


def _shortened(names: list[str]) -> str:
    """The last three: gradients carry NaN from the layer where it began to those before it."""
    rest = len(names) - 3
    return ", ".join(reversed(names[-3:])) + (f" and {rest} more" if rest > 0 else "")


def first_not_finite(model: paddle.nn.Layer, images: paddle.Tensor) -> str:
    """The first layer, in the order of execution, with a NaN or infinity in its parameters or its output.

    The model keeps its mode: in training, batch norms and quantizers compute other values than in evaluation.
    """
    found: list[str] = []
    handles = []
    for name, layer in model.named_sublayers():
        # A layer with layers inside says nothing that they do not, unless it computes with parameters of its own.
        if not list(layer.children()) or layer.parameters(include_sublayers=False):
            handles.append(layer.register_forward_pre_hook(_parameters_of(name, found)))
            handles.append(layer.register_forward_post_hook(_output_of(name, found)))
    was_training = model.training
    if world_size() > 1:
        model.eval()  # a batch norm across processes would wait for the others
    try:
        with paddle.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
        if was_training:
            model.train()
    return found[0] if found else "none in this batch (the loss itself overflowed)"


def _parameters_of(name: str, found: list[str]) -> Callable[[paddle.nn.Layer, object], None]:
    """Looks before the layer computes: quantizers inside it are handed its weight, and would be named instead."""

    def look(layer: paddle.nn.Layer, inputs: object) -> None:
        if not found:
            broken = not_finite(dict(layer.named_parameters(include_sublayers=False)))
            found.extend(f"{name} (its parameter {key})" for key in broken)

    return look


def _output_of(name: str, found: list[str]) -> Callable[[paddle.nn.Layer, object, object], None]:
    def look(layer: paddle.nn.Layer, inputs: object, output: object) -> None:
        if not found and isinstance(output, paddle.Tensor) and not bool(paddle.isfinite(output).all()):
            found.append(f"{name} (its output)")

    return look

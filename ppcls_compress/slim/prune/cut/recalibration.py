"""Batch-norm statistics of a pruned network, renewed from training data."""

from __future__ import annotations

from collections.abc import Iterable

import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.inputs import call, told
from ppcls_compress.slim.position import failures_told


def recalibrate(model: nn.Layer, batches: Iterable[paddle.Tensor]) -> int:
    """Replace every running mean and variance by its average over the batches; nothing else changes.

    A pruned layer hands smaller sums to the next one, whose statistics are those of the dense network. All other layers
    are in evaluation mode meanwhile, so that dropout stays off.

    Args:
        model: changed in place; its modes are as before afterwards.
        batches: inputs of the model: [N, C, H, W], a dict, or a list or tuple with an entry for each argument.

    Returns:
        The number of batch norms renewed.

    Raises:
        UserError: there is no batch, or one that the model does not take.
    """
    norms = [layer for layer in model.sublayers(include_self=True) if _is_batch_norm(layer)]
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    momenta = [norm._momentum for norm in norms]
    seen = 0
    try:
        model.eval()
        for norm in norms:
            norm.training = True
        with paddle.no_grad():
            for seen, batch in enumerate(batches, start=1):
                for norm in norms:
                    norm._momentum = (seen - 1) / seen  # Paddle: running = momentum * running + (1 - momentum) * batch
                with failures_told(model, f"bn_recalibration on a batch of {told(batch)}"):
                    call(model, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm._momentum = momentum
        for layer, training in modes:
            layer.training = training
    if not seen:
        raise UserError("Slim.prune.bn_recalibration: needs at least one batch, found none")
    return len(norms)


def _is_batch_norm(layer: nn.Layer) -> bool:
    return isinstance(getattr(layer, "_mean", None), paddle.Tensor) and hasattr(layer, "_momentum")

"""A batch forwards through a network and its loss, and back."""

from __future__ import annotations

import paddle

from ppcls_compress.engine.training import Training
from ppcls_compress.losses import LossValue, TotalLoss
from ppcls_compress.models.labelled import TakesLabels
from ppcls_compress.outputs import Output, mapped


def forward_backward(
    trainer: Training,
    network: paddle.nn.Layer,
    loss: TotalLoss,
    images: paddle.Tensor,
    labels: paddle.Tensor,
    *,
    scale: float = 1.0,
) -> tuple[Output, LossValue]:
    """What the network gives and what that costs, without gradients; those are added to the parameters'.

    Args:
        network: `trainer.model`, or what is around it where several processes train.
        images: [N, C, H, W].
        labels: as a `Batch` has them.
        scale: factor on the gradients, beside the one of mixed precision.
    """
    with trainer.precision.autocast():
        # A margin is put between the right class and the others, so the network has to know which is right.
        output = network(images, labels) if isinstance(trainer.model, TakesLabels) else network(images)
        value = loss(output, labels, images)
    trainer.precision.scaled(value.total * scale if scale != 1.0 else value.total).backward()
    terms = {name: term.detach() for name, term in value.terms.items()}
    return mapped(paddle.Tensor.detach, output), LossValue(value.total.detach(), terms)

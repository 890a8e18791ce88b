"""Cross-entropy over class indices or mixed labels, with label smoothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ppcls_compress.declare import Number
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.outputs import Output, class_labels, logits_of

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class CELoss(Loss):
    """Cross-entropy; `epsilon` smooths the labels."""

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None

    def build(self) -> LossFunction:
        """`cross_entropy` of the logits, with these options."""
        epsilon = self.epsilon

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return cross_entropy(logits_of(output), class_labels(labels), epsilon=epsilon)

        return loss


@LOSSES.declare
class MixCELoss(CELoss):
    """Cross-entropy over mixed labels, under PaddleClas' other name."""


def cross_entropy(logits: paddle.Tensor, labels: paddle.Tensor, *, epsilon: float | None = None) -> paddle.Tensor:
    """Mean cross-entropy of `logits` [N, C].

    Args:
        logits: unnormalised scores [N, C].
        labels: int64 class indices [N], or float32 probabilities [N, C] (mixup, CutMix).
        epsilon: label smoothing (Szegedy et al. 2016, section 7): the target is (1 - epsilon) * label + epsilon / C.

    Returns:
        A scalar.
    """
    import paddle.nn.functional as F

    if labels.ndim == 1 and not epsilon:
        return F.cross_entropy(logits, labels)
    classes = logits.shape[-1]
    target = labels if labels.ndim == 2 else F.one_hot(labels, classes)
    if epsilon:
        target = target * (1.0 - epsilon) + epsilon / classes
    return F.cross_entropy(logits, target.astype(logits.dtype), soft_label=True)

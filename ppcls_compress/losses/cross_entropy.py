"""Cross-entropy over class indices or mixed labels, with label smoothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ppcls_compress.declare import Number
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.outputs import Output, class_labels, logits_of

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class CELoss(Loss):
    """Cross-entropy.

    Attributes:
        epsilon: smooths the labels.
        reduction: what becomes of the numbers of a batch, their mean or their sum.
    """

    labels: ClassVar[str] = "classes"

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None
    reduction: Literal["mean", "sum"] = "mean"

    def build(self) -> LossFunction:
        """`cross_entropy` of the logits, with these options."""
        options = {"epsilon": self.epsilon, "reduction": self.reduction}

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return cross_entropy(logits_of(output), class_labels(labels), **options)

        return loss


@LOSSES.declare
class MixCELoss(CELoss):
    """Cross-entropy over mixed labels, under PaddleClas' other name."""


@LOSSES.declare
class SoftTargetCrossEntropy(Loss):
    """Cross-entropy over mixed labels, which are taken as they are."""

    labels: ClassVar[str] = "classes"

    def build(self) -> LossFunction:
        """`cross_entropy` of the logits."""
        return lambda output, labels, images: cross_entropy(logits_of(output), class_labels(labels))


_AUXILIARY = 0.3


@LOSSES.declare
class GoogLeNetLoss(Loss):
    """Cross-entropy of a classifier and 0.3 times that of its auxiliary ones (Szegedy et al. 2014, section 5).

    An exported network has its main classifier alone, which is all that counts then.

    Attributes:
        epsilon: must stay None: labels are not smoothed here.
    """

    labels: ClassVar[str] = "classes"

    epsilon: None = None

    def build(self) -> LossFunction:
        """The sum over the outputs."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            outputs = output if isinstance(output, list | tuple) else [output]
            main, *others = (cross_entropy(logits_of(each), class_labels(labels)) for each in outputs)
            return main + _AUXILIARY * sum(others)

        return loss


def cross_entropy(
    logits: paddle.Tensor, labels: paddle.Tensor, *, epsilon: float | None = None, reduction: str = "mean"
) -> paddle.Tensor:
    """Cross-entropy of `logits` [N, C].

    Args:
        logits: unnormalised scores [N, C].
        labels: int64 class indices [N], or float32 probabilities [N, C] (mixup, CutMix).
        epsilon: label smoothing (Szegedy et al. 2016, section 7): the target is (1 - epsilon) * label + epsilon / C.
        reduction: `mean` or `sum` over the samples.

    Returns:
        A scalar.
    """
    import paddle.nn.functional as F

    if labels.ndim == 1 and not epsilon:
        return F.cross_entropy(logits, labels, reduction=reduction)
    classes = logits.shape[-1]
    target = labels if labels.ndim == 2 else F.one_hot(labels, classes)
    if epsilon:
        target = target * (1.0 - epsilon) + epsilon / classes
    return F.cross_entropy(logits, target.astype(logits.dtype), soft_label=True, reduction=reduction)

"""Losses of images that have several labels each: attributes, or any number of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ppcls_compress.declare import Fraction, NonNegative, Number, Positive
from ppcls_compress.errors import UserError
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.outputs import UNKNOWN, Output, attributes, logits_of

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class MultiLabelLoss(Loss):
    """Binary cross-entropy of each label; an unknown label costs nothing.

    Attributes:
        epsilon: smooths the labels: the target is (1 - epsilon) * label + epsilon / C.
        size_sum: add up the labels of an image, and take the mean over images; without it the mean over both.
        weight_ratio: weigh each label by exp(1 - p) where it is there and exp(p) where it is not, p being the share of
            images that have it (Li et al. 2015, DeepMAR, eq. 2); needs `label_ratio: True` of the data set.
    """

    labels: ClassVar[str] = "attributes"

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None
    size_sum: bool = False
    weight_ratio: bool = False

    def build(self) -> LossFunction:
        """The loss of the logits."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            import paddle.nn.functional as F

            logits, (labels, shares) = logits_of(output).astype("float32"), attributes(labels)
            target = labels if not self.epsilon else labels * (1 - self.epsilon) + self.epsilon / labels.shape[-1]
            cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            cost = cost * (labels > UNKNOWN).astype(cost.dtype)
            if self.weight_ratio:
                cost = cost * balance(target, shares)
            return cost.sum(axis=1).mean() if self.size_sum else cost.mean()

        return loss


def balance(target: paddle.Tensor, shares: paddle.Tensor | None) -> paddle.Tensor:
    """The weight of each label [N, C], larger where it is the rarer one.

    Args:
        target: labels [N, C].
        shares: of images that have each label, [C].

    Raises:
        UserError: there are no shares.
    """
    if shares is None:
        raise UserError("weight_ratio: needs label_ratio: True in the section of the data set")
    there = (target > 0.5).astype(target.dtype)
    return (there * (1 - shares) + (1 - there) * shares).exp()


@LOSSES.declare
class MultiLabelAsymmetricLoss(Loss):
    """Focal binary cross-entropy that forgives easy negatives (Ben-Baruch et al. 2020, arXiv:2009.14119, eq. 4 to 7).

    Attributes:
        gamma_pos: focusing of labels that are there.
        gamma_neg: focusing of labels that are not.
        clip: probability below which a label that is not there costs nothing.
        epsilon: the least probability whose logarithm is taken.
        disable_focal_loss_grad: take the focusing weight for a constant.
        reduction: over all labels of a batch.
    """

    labels: ClassVar[str] = "attributes"

    gamma_pos: NonNegative = 1.0
    gamma_neg: NonNegative = 4.0
    clip: Fraction | None = 0.05
    epsilon: Positive = 1e-8
    disable_focal_loss_grad: bool = True
    reduction: Literal["mean", "sum"] = "sum"

    def build(self) -> LossFunction:
        """The loss of the logits."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            known = attributes(labels)[0]
            labels = known.clip(min=0)  # an unknown one, which costs nothing, would make a root of a negative number
            probability = logits_of(output).astype("float32").sigmoid()
            absent = (1 - probability + (self.clip or 0.0)).clip(max=1)
            right = absent * (1 - labels) + probability * labels
            wrong = (1 - right).clip(min=1e-12)  # 0 to the power of 0 has no gradient in Paddle 3.1
            weight = wrong ** (self.gamma_pos * labels + self.gamma_neg * (1 - labels))
            if self.disable_focal_loss_grad:
                weight = weight.detach()
            cost = -right.clip(min=self.epsilon).log() * weight
            cost = cost * (known > UNKNOWN).astype(cost.dtype)
            return cost.sum() if self.reduction == "sum" else cost.mean()

        return loss

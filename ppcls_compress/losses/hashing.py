"""Losses of codes of bits, whose features are to come near -1 and 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ppcls_compress.declare import Count, NonNegative, Positive
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class DCHLoss(Loss):
    """Deep Cauchy hashing (Cao et al. 2018, equations 4 to 8).

    With d(a, b) = (1 - cos(a, b)) * K / 2 of K bits and s = 1 for pairs with a class in common, else 0: the mean of
    w * (s * log(d / gamma) + log(1 + gamma / d)), w weighing both kinds of pair alike, and _lambda times the mean of
    log(1 + d(|code|, 1) / gamma).

    Attributes:
        gamma: scale of the Cauchy distribution.
        quantization: `_lambda`, how much it counts that features are no bits.
        n_class: number of classes.
    """

    gamma: Positive
    quantization: NonNegative = Field(alias="_lambda")
    n_class: Count

    def build(self) -> LossFunction:
        """A scalar of a batch."""
        from ppcls_compress.losses.codes import cauchy

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return cauchy(output, labels, classes=self.n_class, gamma=self.gamma, quantization=self.quantization)

        return loss


@LOSSES.declare
class LCDSHLoss(Loss):
    """Locality-constrained hashing (Zhu et al. 2017): mean log(1 + exp(-s * p)), p half the product of two codes.

    s is 1 for pairs with a class in common, else -1. `_lambda` times the mean squared difference of sigmoid(p) before
    and after rounding features to bits is added.
    """

    n_class: Count
    quantization: NonNegative = Field(alias="_lambda")

    def build(self) -> LossFunction:
        """A scalar of a batch."""
        from ppcls_compress.losses.codes import locality

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return locality(output, labels, classes=self.n_class, quantization=self.quantization)

        return loss


@LOSSES.declare
class DSHSDLoss(Loss):
    """Hashing by a stable distribution (Wu et al. 2019): classification, and alpha times a contrastive loss of codes.

    The latter is the mean of d / 2 for pairs with a class in common and max(0, 2 K - d) / 2 for others, d the squared
    distance of two codes of K bits.

    Attributes:
        multi_label: labels are of several classes each.
    """

    alpha: NonNegative
    multi_label: bool = False

    def build(self) -> LossFunction:
        """A scalar of a batch."""
        from ppcls_compress.losses.codes import stable_distribution

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return stable_distribution(output, labels, alpha=self.alpha, multi_label=self.multi_label)

        return loss

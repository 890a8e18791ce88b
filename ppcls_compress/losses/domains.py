"""Losses of images of several domains, or cameras (MetaBIN, Choi et al. 2021, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppcls_compress.declare import Number
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.losses.cross_entropy import CELoss, cross_entropy
from ppcls_compress.losses.triplet import Source, TripletLossV2
from ppcls_compress.outputs import Output, cameras, class_labels, logits_of

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class CELossForMetaBIN(CELoss):
    """`CELoss` whose `epsilon` is what the right class loses: the others share it, and it has no part of its own."""

    def build(self) -> LossFunction:
        """The mean, or the sum, over the images of a batch."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            logits = logits_of(output)
            classes = logits.shape[-1]
            epsilon = None if not self.epsilon else self.epsilon * classes / max(1, classes - 1)
            return cross_entropy(logits, class_labels(labels), epsilon=epsilon, reduction=self.reduction)

        return loss


@LOSSES.declare
class TripletLossForMetaBIN(TripletLossV2):
    """`TripletLossV2` with other defaults."""

    margin: Number = 1.0
    normalize_feature: bool = False


class _OfDomains(Loss):
    """What both losses of domains have.

    Attributes:
        normalize_feature: divide features by their length first.
        feature_from: the output that is compared.
    """

    labels: ClassVar[str] = "classes"

    normalize_feature: bool = True
    feature_from: Source = "features"


@LOSSES.declare
class IntraDomainScatterLoss(_OfDomains):
    """Cosine of a feature and the mean of its domain, averaged over each domain, then over the domains (equation 4)."""

    def build(self) -> LossFunction:
        """The mean over the domains of a batch."""
        import paddle
        import paddle.nn.functional as F

        from ppcls_compress.losses.features import features_of

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            features = features_of(output, self.feature_from, normalize=self.normalize_feature)
            _, domain = paddle.unique(cameras(labels), return_inverse=True)
            member = F.one_hot(domain, int(domain.max()) + 1)  # [N, domains]
            size = member.sum(axis=0)
            centre = member.T @ features / size.unsqueeze(1)
            cosine = F.cosine_similarity(features, member @ centre, axis=1)
            return (cosine @ member / size).mean()

        return loss


@LOSSES.declare
class InterDomainShuffleLoss(_OfDomains):
    """log(1 + exp(furthest of another domain - nearest other identity of the same domain)) (equation 5).

    PaddleClas takes a margin of 0.3 instead where the exponential overflows; computed as here it does not.
    """

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        import paddle.nn.functional as F

        from ppcls_compress.losses.features import distances, features_of, furthest, nearest, same_identity

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            features = features_of(output, self.feature_from, normalize=self.normalize_feature)
            distance, seen = distances(features), cameras(labels)
            same_domain = seen.unsqueeze(1) == seen.unsqueeze(0)
            positive = furthest(distance, ~same_domain, least=0.0)
            negative = nearest(distance, same_domain & ~same_identity(labels))
            return F.softplus(positive - negative).mean()

        return loss

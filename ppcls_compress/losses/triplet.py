"""Losses of the hardest pairs in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ppcls_compress.declare import Count, NonNegative, Number
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle

Source = Literal["features", "backbone", "neck", "logits"]
_Cosine = Annotated[Number, Field(ge=-1, le=1)]


@LOSSES.declare
class TripletLossV2(Loss):
    """max(0, margin + hardest positive - hardest negative), of Euclidean distances (Hermans et al. 2017, equation 5).

    Attributes:
        margin: by which another identity is to be further away.
        normalize_feature: divide features by their length first.
        feature_from: the output that is compared.
    """

    margin: Number = 0.5
    normalize_feature: bool = True
    feature_from: Source = "features"

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        import paddle.nn.functional as F

        from ppcls_compress.losses.features import distances, features_of, hardest, same_identity

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            features = features_of(output, self.feature_from, normalize=self.normalize_feature)
            positive, negative = hardest(distances(features), same_identity(labels))
            return F.relu(self.margin + positive - negative).mean()

        return loss


@LOSSES.declare
class TripletLoss(Loss):
    """`TripletLossV2` of features as they are."""

    margin: Number = 1.0

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        return TripletLossV2(margin=self.margin, normalize_feature=False).build()


@LOSSES.declare
class TripletAngularMarginLoss(Loss):
    """max(0, margin - smallest cosine of one identity + largest of another).

    With `add_absolute`, absolute_loss_weight * (mean max(0, ap_value - the first) + mean max(0, the second - an_value))
    is added. PaddleClas counts 1 where the last is 0, a constant that no gradient comes from; here it is 0.

    Attributes:
        ap_value: cosine that one identity is to have at least.
        an_value: cosine that another identity is to have at most.
    """

    margin: Number = 0.5
    normalize_feature: bool = True
    reduction: Literal["mean", "sum"] = "mean"
    add_absolute: bool = False
    absolute_loss_weight: NonNegative = 1.0
    ap_value: _Cosine = 0.9
    an_value: _Cosine = 0.5
    feature_from: Source = "features"

    def build(self) -> LossFunction:
        """The mean, or the sum, over the images of a batch."""
        import paddle.nn.functional as F

        from ppcls_compress.losses.features import features_of, hardest, same_identity

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            features = features_of(output, self.feature_from, normalize=self.normalize_feature)
            positive, negative = (-cosine for cosine in hardest(-features @ features.T, same_identity(labels)))
            ranked = F.relu(self.margin - positive + negative)
            total = ranked.mean() if self.reduction == "mean" else ranked.sum()
            if not self.add_absolute:
                return total
            absolute = F.relu(self.ap_value - positive).mean() + F.relu(negative - self.an_value).mean()
            return total + self.absolute_loss_weight * absolute

        return loss


class _Grouped(Loss):
    """What losses have whose batches are groups of images of one identity that follow each other.

    Attributes:
        batch_size: images in a batch.
        samples_each_class: images in a group.
    """

    batch_size: Count = 120
    samples_each_class: Annotated[int, Field(ge=2)] = 2

    @model_validator(mode="after")
    def _whole_groups(self) -> _Grouped:
        if self.batch_size % self.samples_each_class or self.batch_size == self.samples_each_class:
            raise ValueError("batch_size must be twice samples_each_class, or more, and a multiple of it")
        return self


@LOSSES.declare
class TriHardLoss(_Grouped):
    """`TripletLossV2` of squared distances, by groups instead of labels."""

    margin: Number = 0.1

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        import paddle.nn.functional as F

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            positive, negative = _hardest_of_groups(self, output)
            return F.relu(positive + self.margin - negative).mean()

        return loss


@LOSSES.declare
class MSMLoss(_Grouped):
    """The hardest positive and the hardest negative of the whole batch (Xiao et al. 2017), of squared distances."""

    margin: Number = 0.1

    def build(self) -> LossFunction:
        """A scalar of a batch."""
        import paddle.nn.functional as F

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            positive, negative = _hardest_of_groups(self, output)
            return F.relu(positive.max() + self.margin - negative.min())

        return loss


def _hardest_of_groups(options: _Grouped, output: Output) -> tuple[paddle.Tensor, paddle.Tensor]:
    from ppcls_compress.losses.features import features_of, groups, hardest, squared_distances

    features = features_of(output, "features", normalize=True)
    same = groups(features, batch_size=options.batch_size, size=options.samples_each_class, loss=type(options).__name__)
    return hardest(squared_distances(features), same)


@LOSSES.declare
class EmlLoss(_Grouped):
    """Ensemble metric learning (Li et al. 2012): a soft hardest positive against a soft hardest negative, by groups.

    log(1 + beta * theta * exp(d)) / log(1 + beta), d the largest squared distance within the group less the smallest to
    others, theta the product of the means of exp(distance - largest) and exp(smallest - distance). Beyond d = 20 it
    goes on as a line.
    """

    batch_size: Count = 40

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        from ppcls_compress.losses.ensemble import ensemble_metric

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return ensemble_metric(output, batch_size=self.batch_size, size=self.samples_each_class)

        return loss

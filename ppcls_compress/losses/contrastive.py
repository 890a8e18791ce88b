"""Losses of all pairs in a batch, and of a memory of earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ppcls_compress.declare import LARGEST, Count, NonNegative, Number, Positive
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.losses.triplet import Source
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class SupConLoss(Loss):
    """Supervised contrastive loss (Khosla et al. 2020, equation 2).

    Of each anchor, the mean of -log softmax over the other images' cosines / temperature, at those of its identity.
    Anchors without another image of their identity in the batch do not count.

    Attributes:
        views: images of one identity that follow each other in a batch.
        contrast_mode: `all` images are anchors, or `one` of each group of `views`, the first.
        base_temperature: temperature / base_temperature is a factor.
    """

    views: Count = 16
    temperature: Positive = 0.07
    contrast_mode: Literal["all", "one"] = "all"
    base_temperature: Positive = 0.07
    normalize_feature: bool = True

    def build(self) -> LossFunction:
        """The mean over the anchors."""
        from ppcls_compress.losses.pairs import supervised_contrast

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            step = self.views if self.contrast_mode == "one" else 1
            found = supervised_contrast(
                output, labels, step=step, temperature=self.temperature, normalize=self.normalize_feature
            )
            return self.temperature / self.base_temperature * found

        return loss


@LOSSES.declare
class PairwiseCosface(Loss):
    """softplus(logsumexp(-gamma * s_p) + logsumexp(gamma * (s_n + margin))) (Sun et al. 2020, equation 1).

    s_p are the cosines with other images of the identity, s_n those with images of others.
    """

    margin: Number
    gamma: Positive

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        from ppcls_compress.losses.pairs import pairwise_cosface

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return pairwise_cosface(output, labels, margin=self.margin, gamma=self.gamma)

        return loss


@LOSSES.declare
class NpairsLoss(Loss):
    """N-pairs (Sohn 2016, equation 9): images 2 i and 2 i + 1 of a batch are of one identity, each pair of another.

    Cross-entropy of the products of first and second images, and reg_lambda / 2 times the mean squared length.
    """

    reg_lambda: NonNegative = 0.01

    def build(self) -> LossFunction:
        """A scalar of a batch."""
        from ppcls_compress.losses.pairs import n_pairs

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return n_pairs(output, decay=self.reg_lambda)

        return loss


@LOSSES.declare
class ContrastiveLoss(Loss):
    """Of each image, the sum of 1 - s over its identity and of s over others (Wang et al. 2020, section 3).

    s are cosines; those of one identity count below 1 - epsilon, those of others above `margin`.

    Attributes:
        embedding_size: width of the feature.
    """

    margin: Number
    embedding_size: Count
    normalize_feature: bool = True
    epsilon: NonNegative = 1e-5
    feature_from: Source = "features"

    def build(self) -> LossFunction:
        """The mean over the images of a batch."""
        from ppcls_compress.losses.pairs import contrast

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
            return contrast(self._features(output), labels, margin=self.margin, epsilon=self.epsilon)

        return loss

    def _features(self, output: Output) -> paddle.Tensor:
        from ppcls_compress.losses.pairs import features_of_width

        key = f"{type(self).__name__}.embedding_size"
        return features_of_width(
            output, self.feature_from, self.embedding_size, normalize=self.normalize_feature, key=key
        )


@LOSSES.declare
class ContrastiveLoss_XBM(ContrastiveLoss):
    """The same, and xbm_weight times the same of the batch and a memory of batches (Wang et al. 2020, section 3.3).

    Attributes:
        xbm_size: features in the memory.
        xbm_weight: how much it counts.
        start_iter: batches before the memory is used.
    """

    xbm_size: Count
    xbm_weight: NonNegative
    start_iter: Annotated[int, Field(ge=0, le=LARGEST)]

    def build(self) -> LossFunction:
        """A layer, whose memory is part of a checkpoint."""
        from ppcls_compress.losses.memory import CrossBatchMemory

        return CrossBatchMemory(
            self._features,
            size=self.xbm_size,
            width=self.embedding_size,
            weight=self.xbm_weight,
            start=self.start_iter,
            margin=self.margin,
            epsilon=self.epsilon,
        )

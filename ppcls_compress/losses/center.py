"""Center loss, which learns a center for each identity."""

from __future__ import annotations

from ppcls_compress.declare import Count
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction
from ppcls_compress.losses.triplet import Source


@LOSSES.declare
class CenterLoss(Loss):
    """The mean squared distance of a feature from the center of its identity (Wen et al. 2016, equation 2, twice it).

    The centers are trained too; an optimizer of a list whose `scope` is CenterLoss has them by itself.

    Attributes:
        num_classes: identities.
        feat_dim: width of the feature.
    """

    num_classes: Count
    feat_dim: Count
    feature_from: Source = "features"

    def build(self) -> LossFunction:
        """A layer with the centers."""
        from ppcls_compress.losses.centers import Centers

        return Centers(self.num_classes, self.feat_dim, self.feature_from)

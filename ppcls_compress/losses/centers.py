"""The layer of `center`."""

from __future__ import annotations

import paddle

from ppcls_compress.losses.pairs import features_of_width
from ppcls_compress.outputs import Output, identities


class Centers(paddle.nn.Layer):
    """See `center.CenterLoss`; `centers` is [num_classes, feat_dim], normal at first."""

    def __init__(self, num_classes: int, feat_dim: int, feature_from: str) -> None:
        super().__init__()
        self.feature_from = feature_from
        self.centers = self.create_parameter(
            [num_classes, feat_dim], default_initializer=paddle.nn.initializer.Normal(0.0, 1.0)
        )

    def forward(self, output: Output, labels: paddle.Tensor, images: paddle.Tensor | None = None) -> paddle.Tensor:
        """The loss of a batch.

        Raises:
            UserError: the features are of another width.
        """
        width, key = self.centers.shape[1], "CenterLoss.feat_dim"
        features = features_of_width(output, self.feature_from, width, normalize=False, key=key)
        return (features - self.centers[identities(labels)]).square().sum(axis=1).mean()

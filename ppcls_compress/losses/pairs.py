"""The formulas of `contrastive`."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from ppcls_compress.errors import UserError
from ppcls_compress.losses.features import features_of, same_identity
from ppcls_compress.outputs import Output

_OUT = -1e8
"""Of a pair that is left out: nothing after an exponential."""


def supervised_contrast(
    output: Output, labels: paddle.Tensor, *, step: int, temperature: float, normalize: bool
) -> paddle.Tensor:
    """See `SupConLoss`; every `step`-th image is an anchor."""
    features = features_of(output, "features", normalize=normalize)
    alone = paddle.eye(len(features))[::step]
    scores = features[::step] @ features.T / temperature
    logs = scores - paddle.logsumexp(scores + _OUT * alone, axis=1, keepdim=True)
    positive = same_identity(labels)[::step].astype(scores.dtype) * (1 - alone)
    count = positive.sum(axis=1)
    means = (positive * logs).sum(axis=1) / count.clip(min=1)
    return -means.sum() / (count > 0).astype(scores.dtype).sum().clip(min=1)


def pairwise_cosface(output: Output, labels: paddle.Tensor, *, margin: float, gamma: float) -> paddle.Tensor:
    """See `PairwiseCosface`."""
    features = features_of(output, "features", normalize=True)
    cosines = features @ features.T
    same = same_identity(labels).astype(cosines.dtype)
    positive = same - paddle.eye(len(features))
    own = -gamma * cosines * positive + _OUT * (1 - positive)
    other = gamma * (cosines * (1 - same) + margin) + _OUT * same
    return F.softplus(paddle.logsumexp(own, axis=1) + paddle.logsumexp(other, axis=1)).mean()


def n_pairs(output: Output, *, decay: float) -> paddle.Tensor:
    """See `NpairsLoss`.

    Raises:
        UserError: the number of images is odd.
    """
    features = features_of(output, "features", normalize=False)
    if len(features) % 2:
        raise UserError(f"NpairsLoss: a batch of {len(features)} images has no pairs; give the sampler drop_last: True")
    products = features[::2] @ features[1::2].T
    lengths = features.square().sum(axis=1).mean()
    return F.cross_entropy(products, paddle.arange(len(products))) + 0.5 * decay * lengths


def features_of_width(output: Output, name: str, width: int, *, normalize: bool, key: str) -> paddle.Tensor:
    """As `features_of`, of [N, width]; `key` is where the width is configured.

    Raises:
        UserError: they are of another width.
    """
    features = features_of(output, name, normalize=normalize)
    if features.shape[1] != width:
        raise UserError(f"{key}: is {width}, but {name} of the network have {features.shape[1]} numbers")
    return features


def contrast(
    features: paddle.Tensor,
    labels: paddle.Tensor,
    *,
    margin: float,
    epsilon: float,
    others: tuple[paddle.Tensor, paddle.Tensor] | None = None,
) -> paddle.Tensor:
    """See `ContrastiveLoss`; `others` are the features and identities that each is compared with, else the same."""
    against, identities = others or (features, None)
    cosines = features @ against.T
    same = same_identity(labels, identities)
    own = (same & (cosines < 1 - epsilon)).astype(cosines.dtype)
    other = (~same & (cosines > margin)).astype(cosines.dtype)
    return (own * (1 - cosines) + other * cosines).sum() / len(features)

"""Ensemble metric learning (Li et al. 2012), with the constants of PaddlePaddle's metric learning."""

from __future__ import annotations

import math

import paddle

from ppcls_compress.losses.features import features_of, groups, squared_distances
from ppcls_compress.outputs import Output

_BETA, _THRESHOLD = 1e5, 20.0


def ensemble_metric(output: Output, *, batch_size: int, size: int) -> paddle.Tensor:
    """See `triplet.EmlLoss`; batches of `batch_size` images in groups of `size`."""
    features = features_of(output, "features", normalize=False)
    same = groups(features, batch_size=batch_size, size=size, loss="EmlLoss")
    distance = squared_distances(features)
    own, other = same & ~paddle.eye(batch_size).astype("bool"), ~same
    within = paddle.masked_select(distance, own).reshape([batch_size, -1])
    beyond = paddle.masked_select(distance, other).reshape([batch_size, -1])
    furthest, nearest = within.max(axis=1, keepdim=True), beyond.min(axis=1, keepdim=True)
    theta = (within - furthest).exp().mean(axis=1) * (nearest - beyond).exp().mean(axis=1)
    return _stable(theta, (furthest - nearest).squeeze(1)).mean()


def _stable(theta: paddle.Tensor, gap: paddle.Tensor) -> paddle.Tensor:
    limit = paddle.full_like(gap, _THRESHOLD)
    line = (theta.log() + paddle.maximum(gap, limit) + math.log(_BETA)) / math.log(1 + _BETA)
    return _curve(theta, paddle.minimum(gap, limit)) + line - _curve(theta, limit)


def _curve(theta: paddle.Tensor, gap: paddle.Tensor) -> paddle.Tensor:
    return paddle.log(1 + _BETA * theta * gap.exp()) / math.log(1 + _BETA)

"""The formulas of `hashing`."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from ppcls_compress.losses.features import features_of, squared_distances
from ppcls_compress.outputs import Output, class_labels, logits_of


def _membership(labels: paddle.Tensor, classes: int) -> paddle.Tensor:
    """float32 [N, classes], 1 where an image is of a class."""
    labels = class_labels(labels)
    return labels if labels.ndim == 2 else F.one_hot(labels, classes)


def _code_distance(codes: paddle.Tensor, others: paddle.Tensor) -> paddle.Tensor:
    """(1 - cosine) * bits / 2, [N, M]; the cosine stays below 0.99."""
    lengths = codes.norm(axis=1, keepdim=True) @ others.norm(axis=1, keepdim=True).T
    cosines = codes @ others.T / lengths.clip(min=1e-4)
    return (1 - cosines.clip(max=0.99)) * codes.shape[1] / 2


def cauchy(output: Output, labels: paddle.Tensor, *, classes: int, gamma: float, quantization: float) -> paddle.Tensor:
    """See `DCHLoss`."""
    codes = features_of(output, "features", normalize=False)
    members = _membership(labels, classes)
    similar = members @ members.T
    likes, unlikes, pairs = similar.sum(), (1 - similar).sum(), similar.size
    weights = 1.0
    if bool(likes != 0) and bool(unlikes != 0):
        weights = similar * pairs / likes + (1 - similar) * pairs / unlikes
    distance = _code_distance(codes, codes)
    pull = weights * (similar * paddle.log(distance / gamma) + paddle.log(1 + gamma / distance))
    rounding = paddle.log(1 + _code_distance(codes.abs(), paddle.ones_like(codes)) / gamma)
    return pull.mean() + quantization * rounding.mean()


def locality(output: Output, labels: paddle.Tensor, *, classes: int, quantization: float) -> paddle.Tensor:
    """See `LCDSHLoss`."""
    codes = features_of(output, "features", normalize=False)
    members = _membership(labels, classes)
    sign = 2 * (members @ members.T > 0).astype(codes.dtype) - 1
    product, bits = (0.5 * codes @ codes.T).clip(-50, 50), codes.sign()
    rounding = (F.sigmoid(product) - F.sigmoid(0.5 * bits @ bits.T)).square().mean()
    return F.softplus(-sign * product).mean() + quantization * rounding


def stable_distribution(output: Output, labels: paddle.Tensor, *, alpha: float, multi_label: bool) -> paddle.Tensor:
    """See `DSHSDLoss`."""
    codes, logits = features_of(output, "features", normalize=False), logits_of(output)
    members = _membership(labels, logits.shape[1])
    unlike = (members @ members.T == 0).astype(codes.dtype)
    distance = squared_distances(codes)
    pairs = (1 - unlike) / 2 * distance + unlike / 2 * F.relu(2 * codes.shape[1] - distance)
    if multi_label:
        classified = F.binary_cross_entropy_with_logits(logits, members, reduction="none")
    else:
        classified = -F.log_softmax(logits) * members
    return classified.sum(axis=1).mean() + alpha * pairs.mean()

"""What losses of features share: which output they read, lengths of one, distances, hardest pairs."""

from __future__ import annotations

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.outputs import Output, identities, part, unit

_FAR = 1e12
"""Of a pair that is left out: further than any."""


def features_of(output: Output, name: str, *, normalize: bool) -> paddle.Tensor:
    """The output called `name`, flattened to [N, D], each row divided by its length where asked.

    Raises:
        UserError: the network has no such output.
    """
    features = part(output, name).flatten(1)
    return unit(features) if normalize else features


def same_identity(labels: paddle.Tensor, others: paddle.Tensor | None = None) -> paddle.Tensor:
    """Whether image n and image m are of one identity: bool [N, M], of identities [N] and [M]."""
    rows = identities(labels)
    columns = rows if others is None else others
    return rows.unsqueeze(1) == columns.unsqueeze(0)


def squared_distances(features: paddle.Tensor, others: paddle.Tensor | None = None) -> paddle.Tensor:
    """Squared Euclidean distances [N, M] of rows [N, D] and [M, D]."""
    others = features if others is None else others
    squares = features.square().sum(axis=1, keepdim=True) + others.square().sum(axis=1)
    return squares - 2.0 * features @ others.T


def distances(features: paddle.Tensor) -> paddle.Tensor:
    """Euclidean distances [N, N]; no gradient flows where two rows are equal, as there is none."""
    return squared_distances(features).clip(min=1e-12).sqrt()


def hardest(distance: paddle.Tensor, same: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The largest distance [N] to one of the same identity, and the smallest to one of another.

    Where a batch has no other identity, that is further than any.
    """
    return furthest(distance, same, least=-_FAR), nearest(distance, ~same)


def furthest(distance: paddle.Tensor, allowed: paddle.Tensor, *, least: float) -> paddle.Tensor:
    """The largest distance [N] of those [N, M] that are allowed, bool [N, M], and at least a number."""
    return paddle.where(allowed, distance, paddle.full_like(distance, least)).max(axis=1)


def nearest(distance: paddle.Tensor, allowed: paddle.Tensor) -> paddle.Tensor:
    """The smallest distance [N] of those that are allowed; further than any where none is."""
    return paddle.where(allowed, distance, paddle.full_like(distance, _FAR)).min(axis=1)


def groups(features: paddle.Tensor, *, batch_size: int, size: int, loss: str) -> paddle.Tensor:
    """Whether image n and image m stand in the same group of `size` images that follow each other: bool [N, N].

    Raises:
        UserError: the batch is not of `batch_size` images.
    """
    count = len(features)
    if count != batch_size:
        raise UserError(
            f"{loss}: batch_size is {batch_size}, but a batch has {count} images; give the sampler's, and drop_last: "
            "True to it"
        )
    group = paddle.arange(count) // size
    return group.unsqueeze(1) == group.unsqueeze(0)

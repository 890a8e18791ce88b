"""Re-ranking by k-reciprocal neighbours (Zhong et al. 2017), without a matrix of all distances."""

from __future__ import annotations

import numpy as np

_BLOCK = 256
Row = tuple[np.ndarray, np.ndarray]
"""The images near to one, and their weights."""


class ReRanker:
    """Distances between queries and a gallery that take into account who is whose neighbour.

    lambda * d + (1 - lambda) * J (equation 12): d is the squared Euclidean distance, as a share of the largest from the
    same image; J the Jaccard distance of the two images' weighted k-reciprocal neighbours (equations 3 to 11).

    Args:
        queries: features [Q, D].
        gallery: features [G, D].
        k1: neighbours that are looked at.
        k2: neighbours whose weights are averaged.
        weight: lambda.
    """

    def __init__(
        self, queries: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3
    ) -> None:
        self._features = np.concatenate([queries, gallery]).astype(np.float32)
        self._squares = np.square(self._features).sum(axis=1)
        self._queries, self._k1, self._weight = len(queries), k1, weight
        count = len(self._features)
        self._furthest = np.empty(count, np.float32)
        self._rank = np.empty((count, min(max(k1, k2 - 1) + 1, count)), np.int64)
        for start in range(0, count, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, count))
            distances = self._squared(rows)
            self._furthest[rows] = np.maximum(distances.max(axis=1), np.finfo(np.float32).tiny)
            self._rank[rows] = np.argsort(distances, axis=1, kind="stable")[:, : self._rank.shape[1]]
        weights = [self._neighbours(image) for image in range(count)]
        self._rows = [_mean([weights[other] for other in self._rank[image, :k2]]) for image in range(count)]
        self._inverse = self._inverted()

    def distances(self, start: int, stop: int) -> np.ndarray:
        """From queries `start` to `stop` to each image of the gallery, float32 [stop - start, G]."""
        rows = np.arange(start, stop)
        plain = self._squared(rows) / self._furthest[rows, None]
        jaccard = np.stack([self._jaccard(row) for row in rows])
        return (jaccard * (1 - self._weight) + plain * self._weight)[:, self._queries :]

    def _squared(self, rows: np.ndarray) -> np.ndarray:
        products = self._features[rows] @ self._features.T
        return self._squares[rows, None] + self._squares - 2 * products

    def _reciprocal(self, image: int, k: int) -> np.ndarray:
        """The k + 1 nearest of an image that have it among their own k + 1 nearest."""
        forward = self._rank[image, : k + 1]
        return forward[(self._rank[forward, : k + 1] == image).any(axis=1)]

    def _neighbours(self, image: int) -> Row:
        """k-reciprocal neighbours, with those of neighbours that share most of theirs, and weights that add up to 1."""
        near = self._reciprocal(image, self._k1)
        found = [near]
        for candidate in near:
            others = self._reciprocal(candidate, round(self._k1 / 2))
            if len(np.intersect1d(others, near)) > 2 / 3 * len(others):
                found.append(others)
        members = np.unique(np.concatenate(found))
        products = self._features[members] @ self._features[image]
        distances = (self._squares[members] + self._squares[image] - 2 * products) / self._furthest[image]
        weights = np.exp(-distances)
        return members, weights / weights.sum()

    def _inverted(self) -> dict[int, Row]:
        """Image -> the images whose neighbour it is, and its weight there."""
        sizes = [len(members) for members, _ in self._rows]
        members = np.concatenate([row[0] for row in self._rows])
        weights = np.concatenate([row[1] for row in self._rows])
        owners = np.repeat(np.arange(len(self._rows)), sizes)
        order = np.argsort(members, kind="stable")
        keys, starts = np.unique(members[order], return_index=True)
        parts = (np.split(array[order], starts[1:]) for array in (owners, weights))
        return {int(key): pair for key, *pair in zip(keys, *parts, strict=True)}

    def _jaccard(self, image: int) -> np.ndarray:
        shared = np.zeros(len(self._features), np.float32)
        for member, weight in zip(*self._rows[image], strict=True):
            owners, weights = self._inverse[int(member)]
            shared[owners] += np.minimum(weight, weights)
        return 1 - shared / (2 - shared)


def _mean(rows: list[Row]) -> Row:
    """The mean of sparse rows."""
    members, place = np.unique(np.concatenate([row[0] for row in rows]), return_inverse=True)
    weights = np.bincount(place.reshape(-1), np.concatenate([row[1] for row in rows]), len(members))
    return members, (weights / len(rows)).astype(np.float32)

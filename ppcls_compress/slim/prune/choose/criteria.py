"""How much a filter matters. The lowest scores are removed first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppcls_compress.errors import UserError
from ppcls_compress.registry import Registry

_DOUBLE_UP_TO = 1 << 23
"""Multiply-adds of a Gram matrix up to which it is computed in double precision straight away."""

_TOO_CLOSE = 1e-3
"""Squared distance, as a share of the squared norms, below which cancellation eats up single precision."""

_BLOCK = 256
"""Rows of the Gram matrix at a time: what is done to a block finds it in the cache, and little is computed twice."""


@dataclass(frozen=True)
class Filters:
    """One layer's filters.

    Attributes:
        name: structured name of the weight.
        weight: [filters, elements].
        gradient: like `weight`; None before a backward pass.
        norm_scale: [filters], the scale of the batch norm that follows; None without one.
    """

    name: str
    weight: np.ndarray
    gradient: np.ndarray | None = None
    norm_scale: np.ndarray | None = None


Score = Callable[[Filters], np.ndarray]
"""Filters -> one score per filter, float array of shape [filters]."""


@dataclass(frozen=True)
class Criterion:
    """A score, and what it needs besides the weights.

    Attributes:
        needs_gradients: the weights' gradients, from a backward pass over some batches.
        needs_norms: the scale of the batch norm that follows; layers without one stay whole.
    """

    score: Score
    needs_gradients: bool = False
    needs_norms: bool = False


CRITERIA: Registry[Criterion] = Registry("pruning criterion")


def criterion(name: str, **needs: bool) -> Callable[[Score], Score]:
    """Decorator that makes a function the criterion `name`; `needs` are those of `Criterion`.

    Example:
        >>> @criterion("first_weight")
        ... def first_weight(filters):
        ...     return np.abs(filters.weight[:, 0])
    """

    def register(score: Score) -> Score:
        CRITERIA.register(name)(Criterion(score, **needs))
        return score

    return register


@criterion("fpgm")
def fpgm(filters: Filters) -> np.ndarray:
    """Sum of the Euclidean distances to all filters of the layer (He et al. 2019, equation 6).

    Large layers are computed in single precision. A dot product of n terms is then off by about sqrt(n) * 6e-8 of the
    norms, and a squared distance that is at least a thousandth of them by a thousand times that at most; summed over
    the layer, scores are right to a few 1e-7. A layer with closer filters, equal ones above all, is computed again in
    double precision, so that ties stay ties.
    """
    count, size = filters.weight.shape
    if count * count * size > _DOUBLE_UP_TO:
        sums, closest = _distance_sums(filters.weight.astype(np.float32, copy=False))
        if closest > _TOO_CLOSE:
            return sums
    return _distance_sums(filters.weight.astype(np.float64))[0]


def _distance_sums(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Per row the sum of its distances to all rows; and the smallest squared distance over the mean squared norm.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b of the rows moved to their mean, the products from blocks of the Gram matrix on
    and right of its diagonal.
    """
    rows = rows - rows.mean(axis=0)
    half = np.einsum("ij,ij->i", rows, rows) / 2
    sums = np.zeros(len(rows))
    closest = np.inf
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        gram = rows[block] @ rows[start:].T
        np.subtract(half[start:], gram, out=gram)
        gram += half[block, None]
        np.fill_diagonal(gram, np.inf)
        norms = np.maximum(half[block], np.finfo(gram.dtype).tiny)
        nearest = gram.min(axis=1)
        closest = min(closest, float((nearest / norms).min()))
        np.fill_diagonal(gram, 0)
        if nearest.min() < 0:  # by rounding
            np.maximum(gram, 0, out=gram)
        np.sqrt(gram, out=gram)
        sums[block] += gram.sum(axis=1, dtype=np.float64)
        sums[start + _BLOCK :] += gram[:, _BLOCK:].sum(axis=0, dtype=np.float64)
    return np.sqrt(2.0) * sums, closest


@criterion("l1_norm")
def l1_norm(filters: Filters) -> np.ndarray:
    """Mean absolute weight (Li et al. 2017; the mean instead of the sum ranks a layer's filters alike)."""
    return np.abs(filters.weight).mean(axis=1, dtype=np.float64)


@criterion("l2_norm")
def l2_norm(filters: Filters) -> np.ndarray:
    """Euclidean norm."""
    return np.sqrt(np.square(filters.weight, dtype=np.float64).sum(axis=1))


@criterion("bn_scale", needs_norms=True)
def bn_scale(filters: Filters) -> np.ndarray:
    """Absolute scale of the batch norm behind the layer (Liu et al. 2017, network slimming).

    Raises:
        UserError: no batch norm with a scale follows.
    """
    if filters.norm_scale is None:
        raise UserError(f"bn_scale: no batch normalization with a scale follows {filters.name}")
    return np.abs(filters.norm_scale).astype(np.float64)


@criterion("taylor", needs_gradients=True)
def taylor(filters: Filters) -> np.ndarray:
    """First-order effect on the loss, |sum of gradient * weight| (Molchanov et al. 2019, equation 8, unsquared).

    Raises:
        UserError: the weight has no gradient.
    """
    if filters.gradient is None:
        raise UserError(f"taylor: {filters.name} has no gradient; run a backward pass over some batches before pruning")
    return np.abs((filters.gradient * filters.weight).sum(axis=1, dtype=np.float64))


def ranking(scores: np.ndarray) -> np.ndarray:
    """Indices from the lowest score to the highest; scores equal up to rounding count as tied, lower index first."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    tolerance = 1e-9 * max(float(np.abs(ordered).max(initial=0.0)), np.finfo(np.float64).tiny)
    run = np.cumsum(np.diff(ordered, prepend=ordered[:1]) > tolerance)
    return order[np.lexsort((order, run))]

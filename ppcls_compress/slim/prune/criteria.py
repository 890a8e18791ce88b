"""How much a filter matters. The lowest scores are removed first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppcls_compress.errors import UserError
from ppcls_compress.registry import Registry

_EXACT_UP_TO = 1 << 23
"""Multiply-adds of a Gram matrix up to which it is computed in double precision."""


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


Criterion = Callable[[Filters], np.ndarray]
"""Filters -> one score per filter, float array of shape [filters]."""

CRITERIA: Registry[Criterion] = Registry("pruning criterion")


@CRITERIA.register("fpgm")
def fpgm(filters: Filters) -> np.ndarray:
    """Sum of the Euclidean distances to all filters of the layer (He et al. 2019, equation 6).

    The distances come from one Gram matrix of the filters moved to their mean: |a - b|^2 = |a|^2 + |b|^2 - 2 a.b.
    """
    count, size = filters.weight.shape
    exact = count * count * size <= _EXACT_UP_TO
    weight = filters.weight.astype(np.float64 if exact else np.float32)
    weight = weight - weight.mean(axis=0, keepdims=True)
    gram = weight @ weight.T
    half = gram.diagonal() / 2
    np.subtract(half, gram, out=gram)
    gram += half[:, None]
    np.maximum(gram, 0, out=gram)
    np.fill_diagonal(gram, 0)
    np.sqrt(gram, out=gram)
    return np.sqrt(2.0) * gram.sum(axis=1, dtype=np.float64)


@CRITERIA.register("l1_norm")
def l1_norm(filters: Filters) -> np.ndarray:
    """Mean absolute weight (Li et al. 2017; the mean instead of the sum ranks a layer's filters alike)."""
    return np.abs(filters.weight).mean(axis=1, dtype=np.float64)


@CRITERIA.register("l2_norm")
def l2_norm(filters: Filters) -> np.ndarray:
    """Euclidean norm."""
    return np.sqrt(np.square(filters.weight, dtype=np.float64).sum(axis=1))


@CRITERIA.register("bn_scale")
def bn_scale(filters: Filters) -> np.ndarray:
    """Absolute scale of the batch norm behind the layer (Liu et al. 2017, network slimming).

    Raises:
        UserError: no batch norm with a scale follows.
    """
    if filters.norm_scale is None:
        raise UserError(f"bn_scale: no batch normalization with a scale follows {filters.name}")
    return np.abs(filters.norm_scale).astype(np.float64)


@CRITERIA.register("taylor")
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

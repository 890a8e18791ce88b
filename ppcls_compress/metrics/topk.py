"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def topk_correct(logits: np.ndarray, labels: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """How many samples have their label among the k highest scores, for each k, under the names `top1`, `top5`, ...

    A tie counts against the sample: the label must beat all but k - 1 other classes, so that constant or NaN scores
    are not counted as right. A k above the number of classes means all of them.

    Args:
        logits: scores [N, C].
        labels: class indices [N].
        ks: the k of each metric.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    with np.errstate(invalid="ignore"):
        below = (logits < own).sum(axis=1)
    rank = logits.shape[1] - 1 - below
    return {f"top{k}": float((rank < k).sum()) if k < logits.shape[1] else float(len(labels)) for k in ks}

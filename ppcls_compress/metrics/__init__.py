"""Evaluation metrics, one small file each.

A metric maps a batch to sums over its samples, so that any split of a data set over batches or ranks adds up exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppcls_compress.config.sections import MetricEntry
from ppcls_compress.metrics.topk import topk_correct

MetricFunction = Callable[[np.ndarray, np.ndarray], dict[str, float]]


def build_metric(entries: Sequence[MetricEntry]) -> MetricFunction:
    """One function of logits [N, C] and labels [N] that gives, by name, the sum over the samples of each metric."""

    def sums(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {}
        for entry in entries:
            found.update(topk_correct(logits, labels, entry.TopkAcc.topk))
        return found

    return sums

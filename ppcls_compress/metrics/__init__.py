"""Evaluation metrics, one small file each.

A new metric: a file here with an options class that has `keep` and `measure`, decorated with `@METRICS.declare`, and
its line in the first import here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppcls_compress.metrics import (  # noqa: F401  they declare
    attributes,
    distilled,
    multilabel,
    retrieval,
    topk,
    tpr_at_fpr,
)
from ppcls_compress.metrics.base import METRICS, Metric, Rows
from ppcls_compress.outputs import Output, are_indices

__all__ = ["METRICS", "Kept", "Metric", "Metrics", "Rows"]

Kept = tuple[Rows, ...]
"""The rows of some samples, for each metric of a section."""


class Metrics:
    """The metrics of a section, measured over a whole set of samples.

    Example:
        >>> metrics = Metrics([TopkAcc(topk=(1,))])
        >>> kept = [metrics.keep(logits, labels) for logits, labels in batches]
        >>> metrics.measure(kept)
        {'top1': 0.75}
    """

    def __init__(self, entries: Sequence[Metric]) -> None:
        self._entries = tuple(entries)

    def keep(self, output: Output, labels: np.ndarray) -> Kept:
        """What the metrics need of a batch; see `Metric.keep`."""
        return tuple(entry.keep(output, labels) for entry in self._entries)

    def take(self, labels: Any) -> bool:
        """Whether the metrics are of these labels, arrays or tensors; mixed ones are of no class that could be told."""
        return all(are_indices(labels) == (entry.labels != "attributes") for entry in self._entries)

    def measure(self, kept: Sequence[Kept]) -> dict[str, float]:
        """The values by name, of all samples of which something was kept, of one at least."""
        found: dict[str, float] = {}
        for entry, rows in zip(self._entries, join(kept), strict=True):
            found.update(entry.measure(rows))
        return found


def join(kept: Sequence[Kept]) -> Kept:
    """The rows of several sets of samples as those of one."""
    return tuple(
        {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]} for parts in zip(*kept, strict=True)
    )

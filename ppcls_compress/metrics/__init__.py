"""Evaluation metrics, one small file each.

A new metric: a file here with an options class that has `sums`, decorated with `@METRICS.declare`, and its line in
`_FILES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppcls_compress.metrics import topk
from ppcls_compress.metrics.base import METRICS, Metric, MetricFunction
from ppcls_compress.outputs import Output

__all__ = ["METRICS", "Metric", "MetricFunction", "build_metric"]

_FILES = (topk,)


def build_metric(entries: Sequence[Metric]) -> MetricFunction:
    """One function of the network's output and labels [N] that gives each metric's sum over the samples, by name."""

    def sums(output: Output, labels: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {}
        for entry in entries:
            found.update(entry.sums(output, labels))
        return found

    return sums

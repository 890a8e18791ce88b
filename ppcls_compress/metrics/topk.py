"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ppcls_compress.metrics.base import METRICS, Metric, Rows, TopK
from ppcls_compress.outputs import Output, identities, logits_of


@METRICS.declare
class TopkAcc(Metric):
    """Top-k accuracy for each k."""

    labels: ClassVar[str] = "classes"

    topk: TopK = (1, 5)

    @property
    def main(self) -> str:
        """The first k."""
        return f"top{self.topk[0]}"

    def certain(self, class_num: int) -> Sequence[str]:
        """Those with as many answers as there are classes."""
        return [f"top{k}" for k in self.topk if k >= class_num]

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """As `rank_of_label`, and how many classes there are."""
        logits = logits_of(output)
        return {"rank": rank_of_label(logits, identities(labels)), "classes": np.full(len(logits), logits.shape[1])}

    def measure(self, rows: Rows) -> dict[str, float]:
        """The share of samples whose label is among the k highest scores; 1 where k means all classes."""
        rank, classes = rows["rank"], rows["classes"]
        return {f"top{k}": float(((rank < k) | (k >= classes)).mean()) for k in self.topk}


@METRICS.declare
class GoogLeNetTopkAcc(TopkAcc):
    """The same of the first of a network's outputs; the others are auxiliary classifiers."""


def rank_of_label(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many other classes a sample's label does not beat, int64 [N].

    A tie counts against the sample, so that constant or NaN scores are not counted as right.

    Args:
        logits: scores [N, C].
        labels: class indices [N].
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    with np.errstate(invalid="ignore"):
        below = (logits < own).sum(axis=1)
    return logits.shape[1] - 1 - below

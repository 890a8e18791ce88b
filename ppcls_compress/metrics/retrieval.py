"""Metrics of retrieval: how early in a ranking of the gallery the images of a query's identity come.

A query for which the gallery has no image of its identity counts in none of them but `Precisionk`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppcls_compress.metrics.base import METRICS, Metric, TopK

Sums = dict[str, tuple[float, float]]
"""By name, the sum of a value over some queries, and the number of those that count."""


class RetrievalMetric(Metric):
    """A metric of rankings, for `Global.eval_mode: retrieval`."""

    evaluates: ClassVar[str] = "retrieval"
    labels: ClassVar[str] = "classes"

    def sums(self, relevant: np.ndarray) -> Sums:
        """The sums over some queries.

        Args:
            relevant: whether the gallery's images are of the query's identity, bool [Q, G], the most similar first.
        """
        raise TypeError(f"{type(self).__name__} has no sums of its own")


class _AtK(RetrievalMetric):
    """A value for each k.

    Attributes:
        topk: how many images of the ranking are looked at.
    """

    topk: TopK = (1, 5)


@METRICS.declare
class Recallk(_AtK):
    """The share of queries that have an image of their identity among the first k."""

    @property
    def main(self) -> str:
        """Of the first k."""
        return f"recall{self.topk[0]}"

    def sums(self, relevant: np.ndarray) -> Sums:
        """For each k."""
        known = relevant[relevant.any(axis=1)]
        return {f"recall{k}": (float(known[:, :k].any(axis=1).sum()), float(len(known))) for k in self.topk}


@METRICS.declare
class Precisionk(_AtK):
    """The share of the first k images that are of the query's identity."""

    @property
    def main(self) -> str:
        """Of the first k."""
        return f"precision@{self.topk[0]}"

    def sums(self, relevant: np.ndarray) -> Sums:
        """For each k."""
        return {f"precision@{k}": (float(relevant[:, :k].sum() / k), float(len(relevant))) for k in self.topk}


@METRICS.declare
class mAP(RetrievalMetric):
    """The mean over queries of the mean precision at the places where images of the identity stand."""

    @property
    def main(self) -> str:
        """Itself."""
        return "mAP"

    def sums(self, relevant: np.ndarray) -> Sums:
        """The average precisions."""
        known = relevant[relevant.any(axis=1)]
        precision = known.cumsum(axis=1) / np.arange(1, known.shape[1] + 1)
        average = (precision * known).sum(axis=1) / known.sum(axis=1)
        return {"mAP": (float(average.sum()), float(len(known)))}


@METRICS.declare
class mINP(RetrievalMetric):
    """The mean inverse negative penalty (Ye et al. 2021, equation 6): images of the identity / place of the last one.

    PaddleClas counts that place from 0, and divides by zero where a single image comes first; here it is from 1.
    """

    @property
    def main(self) -> str:
        """Itself."""
        return "mINP"

    def sums(self, relevant: np.ndarray) -> Sums:
        """The inverse penalties."""
        known = relevant[relevant.any(axis=1)]
        last = known.shape[1] - known[:, ::-1].argmax(axis=1)
        return {"mINP": (float((known.sum(axis=1) / last).sum()), float(len(known)))}


@METRICS.declare
class FaceVerification(Metric):
    """The accuracy of telling pairs of faces apart, for `Global.eval_mode: adaface`, which measures nothing else."""

    evaluates: ClassVar[str] = "adaface"
    numbers: ClassVar[tuple] = ("threshold",)

    @property
    def main(self) -> str:
        """The mean over the sets of pairs."""
        return "all_test_acc"

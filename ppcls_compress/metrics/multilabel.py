"""Measures of multi-label classification: each image has any number of labels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from ppcls_compress.declare import Fraction
from ppcls_compress.metrics.base import METRICS, Metric, Rows
from ppcls_compress.outputs import UNKNOWN, Output, attributes, logits_of


class _MultiLabel(Metric):
    """Keeps logits float32 [N, C] and labels int8 [N, C]."""

    labels: ClassVar[str] = "attributes"

    @property
    def main(self) -> str:
        """The value is called as the metric is."""
        return type(self).__name__

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """Logits and labels."""
        return {"logits": logits_of(output), "labels": attributes(labels)[0].astype(np.int8)}


def _mistakes(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Which labels are told wrongly, by a probability above one half, and which are known; bool [N, C]."""
    known = rows["labels"] != UNKNOWN
    return ((rows["logits"] > 0) != (rows["labels"] == 1)) & known, known


@METRICS.declare
class HammingDistance(_MultiLabel):
    """The share of all labels that are told wrongly."""

    higher_is_better: ClassVar[bool] = False

    def measure(self, rows: Rows) -> dict[str, float]:
        """One value."""
        wrong, known = _mistakes(rows)
        return {self.main: float(wrong.sum() / max(known.sum(), 1))}


@METRICS.declare
class AccuracyScore(_MultiLabel):
    """The share of labels that are told rightly (`label`), or of samples with all of them right (`sample`)."""

    base: Literal["sample", "label"] = "label"

    def measure(self, rows: Rows) -> dict[str, float]:
        """One value."""
        wrong, known = _mistakes(rows)
        share = wrong.any(axis=1).mean() if self.base == "sample" else wrong.sum() / max(known.sum(), 1)
        return {self.main: float(1 - share)}


@METRICS.declare
class MultilabelMeanAccuracy(_MultiLabel):
    """The share of labels that are told rightly, at the best of `num_iterations` thresholds of the probability.

    Attributes:
        start_threshold: the first of them; each of the others is (end_threshold - start_threshold) / num_iterations
            above the one before, so that `end_threshold` is none of them.
    """

    numbers: ClassVar[tuple] = ("threshold",)

    start_threshold: Fraction = 0.4
    num_iterations: Annotated[int, Field(ge=1, le=100_000)] = 10
    end_threshold: Fraction = 0.9

    def measure(self, rows: Rows) -> dict[str, float]:
        """The share, and the last threshold that gives it."""
        step = (self.end_threshold - self.start_threshold) / self.num_iterations
        thresholds = self.start_threshold + step * np.arange(self.num_iterations)
        probabilities = 1 / (1 + np.exp(-rows["logits"].astype(np.float64)))
        true, absent = rows["labels"] == 1, rows["labels"] == 0
        rights = [np.where(probabilities > threshold, true, absent).mean() for threshold in thresholds]
        best = len(rights) - 1 - int(np.argmax(rights[::-1]))
        return {self.main: float(rights[best]), "threshold": float(thresholds[best])}


@METRICS.declare
class MultiLabelMAP(_MultiLabel):
    """The mean over labels of average precision; labels that no sample has are left out.

    Samples with the same score count as one step of the curve, so that their order does not matter.

    Attributes:
        map_type: `integral` adds up precision times gain of recall; `11point` takes the mean of the best precision at
            recalls of at least 0, 0.1, ... 1 (Everingham et al. 2010, section 4.2).
    """

    map_type: Literal["11point", "integral"] = "integral"

    def measure(self, rows: Rows) -> dict[str, float]:
        """One value."""
        found = [
            self._average_precision(scores[labels != UNKNOWN], labels[labels != UNKNOWN] == 1)
            for scores, labels in zip(rows["logits"].T, rows["labels"].T, strict=True)
            if (labels == 1).any()
        ]
        return {self.main: float(np.mean(found)) if found else 0.0}

    def _average_precision(self, scores: np.ndarray, true: np.ndarray) -> float:
        """Of one label: scores [N] and bool [N]."""
        order = np.argsort(-scores, kind="stable")
        steps = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        hits = np.cumsum(true[order])[steps]
        precision, recall = hits / (steps + 1), hits / hits[-1]
        if self.map_type == "integral":
            return float((precision * np.diff(recall, prepend=0.0)).sum())
        return float(np.mean([precision[recall >= tenth / 10].max() for tenth in range(11)]))

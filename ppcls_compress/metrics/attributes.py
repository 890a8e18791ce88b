"""How well a network tells the attributes of its images: persons, vehicles, tables."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppcls_compress.declare import Number
from ppcls_compress.metrics.base import METRICS, Metric, Rows
from ppcls_compress.outputs import UNKNOWN, Output, attributes, logits_of


@METRICS.declare
class ATTRMetric(Metric):
    """Label-based and instance-based measures of attribute recognition (Li et al. 2016, RAP, section 5).

    ma: mean over attributes of (recall of the positive + recall of the negative samples) / 2.
    label_pos_recall, label_neg_recall: the means of these recalls.
    label_f1: mean over attributes of F1.
    instance_acc, instance_prec, instance_recall: means over samples of |T and P| over |T or P|, |P|, |T|, T being the
        attributes that a sample has and P those it is said to have.
    instance_f1: of the last two.

    A fraction whose denominator is 0 counts as 0.

    Attributes:
        threshold: an attribute is there if its logit is above it, as PaddleClas compares it; 0 would be a probability
            of one half.
    """

    labels: ClassVar[str] = "attributes"

    threshold: Number = 0.5

    @property
    def main(self) -> str:
        """The mean accuracy."""
        return "ma"

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """Labels and answers, int8 [N, C]; an answer is unknown where the label is."""
        labels = attributes(labels)[0].astype(np.int8)
        found = (logits_of(output) > self.threshold).astype(np.int8)
        return {"labels": labels, "found": np.where(labels == UNKNOWN, np.int8(UNKNOWN), found)}

    def measure(self, rows: Rows) -> dict[str, float]:
        """All eight."""
        true, said = rows["labels"] == 1, rows["found"] == 1
        absent = rows["labels"] == 0
        hits = true & said
        positive = _ratio(hits.sum(0), true.sum(0))
        negative = _ratio((absent & (rows["found"] == 0)).sum(0), absent.sum(0))
        f1 = _ratio(2 * hits.sum(0), true.sum(0) + said.sum(0))
        accuracy = _ratio(hits.sum(1), (true | said).sum(1)).mean()
        precision = _ratio(hits.sum(1), said.sum(1)).mean()
        recall = _ratio(hits.sum(1), true.sum(1)).mean()
        values = {
            "ma": ((positive + negative) / 2).mean(),
            "label_f1": f1.mean(),
            "label_pos_recall": positive.mean(),
            "label_neg_recall": negative.mean(),
            "instance_f1": _ratio(2 * precision * recall, precision + recall),
            "instance_acc": accuracy,
            "instance_prec": precision,
            "instance_recall": recall,
        }
        return {name: float(value) for name, value in values.items()}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

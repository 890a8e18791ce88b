"""How many positive images are found if hardly any negative one may be taken for one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppcls_compress.declare import Fraction
from ppcls_compress.errors import UserError
from ppcls_compress.metrics.base import METRICS, Metric, Rows
from ppcls_compress.outputs import Output, identities, logits_of

_STEPS = 10_000


@METRICS.declare
class TprAtFpr(Metric):
    """The largest true positive rate of the thresholds 0, 0.0001, ... 0.9999 whose false positive rate is small enough.

    Class 0 is negative, any other label positive; the score is the probability of class 1.

    Attributes:
        max_fpr: the largest false positive rate.
    """

    labels: ClassVar[str] = "classes"
    numbers: ClassVar[tuple] = ("threshold",)

    max_fpr: Fraction = 1 / 1000

    @property
    def main(self) -> str:
        """The true positive rate."""
        return "tpr"

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """The scores float32 [N] and whether the samples are positive.

        Raises:
            UserError: there is no class 1.
        """
        logits = logits_of(output)
        if logits.shape[1] < 2:
            raise UserError("TprAtFpr: its score is the probability of class 1, and Arch.class_num is 1; set it to 2")
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return {"score": exponentials[:, 1] / exponentials.sum(axis=1), "positive": identities(labels) != 0}

    def measure(self, rows: Rows) -> dict[str, float]:
        """The rate, and the smallest threshold and the false positive rate that go with it.

        Without any positive sample, or if every threshold lets too many negative ones pass, nothing is found: the
        threshold is 1 then, and both rates are 0.
        """
        thresholds = (np.arange(_STEPS) / _STEPS).astype(np.float32)
        tpr, fpr = (_above(rows["score"][chosen], thresholds) for chosen in (rows["positive"], ~rows["positive"]))
        allowed = np.where(fpr <= self.max_fpr, tpr, 0.0)
        best = int(allowed.argmax())
        if not allowed[best]:
            return {"tpr": 0.0, "fpr": 0.0, "threshold": 1.0}
        return {"tpr": float(tpr[best]), "fpr": float(fpr[best]), "threshold": best / _STEPS}


def _above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The share of scores above each of the thresholds; 0 where there is no score."""
    if not len(scores):
        return np.zeros(len(thresholds))
    return 1 - np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores)

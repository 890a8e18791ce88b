"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from ppcls_compress.declare import Count
from ppcls_compress.metrics.base import METRICS, Metric
from ppcls_compress.outputs import Output, identities, logits_of


@METRICS.declare
class TopkAcc(Metric):
    """Top-k accuracy for each k."""

    topk: tuple[Count, ...] = Field(default=(1, 5), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("topk"), int):
            return {**data, "topk": [data["topk"]]}
        return data

    @property
    def main(self) -> str:
        """The first k."""
        return f"top{self.topk[0]}"

    def certain(self, class_num: int) -> Sequence[str]:
        """Those with as many answers as there are classes."""
        return [f"top{k}" for k in self.topk if k >= class_num]

    def sums(self, output: Output, labels: np.ndarray) -> dict[str, float]:
        """As `topk_correct`."""
        return topk_correct(logits_of(output), identities(labels), self.topk)


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

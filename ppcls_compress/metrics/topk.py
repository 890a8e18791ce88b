"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from ppcls_compress.declare import Count
from ppcls_compress.metrics.base import METRICS, Metric, Rows
from ppcls_compress.outputs import Output, identities, logits_of


@METRICS.declare
class TopkAcc(Metric):
    """Top-k accuracy for each k."""

    labels: ClassVar = "classes"

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

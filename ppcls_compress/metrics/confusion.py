"""Which classes are taken for which, beside the metrics of a section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppcls_compress.metrics import Kept, Metric, Metrics, join
from ppcls_compress.outputs import Output, identities, logits_of


class WithConfusion(Metrics):
    """The metrics of a section, and after `measure` the answers of each class.

    Attributes:
        matrix: int64 [C, C], images of class i (row) that were answered with class j; None before `measure`.
    """

    def __init__(self, entries: Sequence[Metric]) -> None:
        super().__init__(entries)
        self.matrix: np.ndarray | None = None

    def keep(self, output: Output, labels: np.ndarray) -> Kept:
        """What the metrics need of a batch, and the answer and label of each image."""
        logits = logits_of(output)
        rows = {
            "answer": logits.argmax(axis=1),
            "label": identities(labels),
            "classes": np.full(len(logits), logits.shape[1]),
        }
        return (*super().keep(output, labels), rows)

    def measure(self, kept: Sequence[Kept]) -> dict[str, float]:
        """The values by name; fills `matrix`."""
        (rows,) = join([parts[-1:] for parts in kept])
        count = int(rows["classes"].max())
        self.matrix = np.zeros((count, count), np.int64)
        np.add.at(self.matrix, (rows["label"], rows["answer"]), 1)
        return super().measure([parts[:-1] for parts in kept])

    def report(self, names: Sequence[str] | None) -> dict[str, Any]:
        """`per_class`, a row for each, and `confusion_matrix`; after `measure`.

        Args:
            names: by class index.
        """
        images = self.matrix.sum(axis=1)
        rows = [
            {
                "class_id": index,
                "name": names[index] if names is not None and index < len(names) else None,
                "images": int(count),
                "accuracy": float(self.matrix[index, index] / count) if count else None,
            }
            for index, count in enumerate(images)
        ]
        return {"per_class": rows, "confusion_matrix": self.matrix.tolist()}

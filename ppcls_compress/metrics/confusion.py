"""Which classes are taken for which, beside the metrics of a section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppcls_compress.metrics import Kept, Metric, Metrics, join
from ppcls_compress.outputs import Output, identities, logits_of

MOST_CLASSES = 2_000
"""More have no matrix: of 20,000 it would take 3 GB."""


class WithConfusion(Metrics):
    """The metrics of a section, and after `measure` the answers of each class."""

    def __init__(self, entries: Sequence[Metric]) -> None:
        super().__init__(entries)
        self._count, self._labels, self._answers = 0, np.zeros(0, np.int64), np.zeros(0, np.int64)

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
        """The values by name."""
        (rows,) = join([parts[-1:] for parts in kept])
        self._count, self._labels, self._answers = int(rows["classes"].max()), rows["label"], rows["answer"]
        return super().measure([parts[:-1] for parts in kept])

    def report(self, names: Sequence[str] | None) -> dict[str, Any]:
        """`per_class`, a row for each, and `confusion_matrix`; after `measure`.

        The matrix has a row for each class, of how many of its images were answered with which; of more than
        `MOST_CLASSES` it is None.

        Args:
            names: by class index.
        """
        images = np.bincount(self._labels, minlength=self._count)
        right = np.bincount(self._labels[self._labels == self._answers], minlength=self._count)
        rows = [
            {
                "class_id": index,
                "name": names[index] if names is not None and index < len(names) else None,
                "images": int(count),
                "accuracy": float(right[index] / count) if count else None,
            }
            for index, count in enumerate(images)
        ]
        return {"per_class": rows, "confusion_matrix": self._matrix()}

    def _matrix(self) -> list[list[int]] | None:
        if self._count > MOST_CLASSES:
            return None
        found = np.zeros((self._count, self._count), np.int64)
        np.add.at(found, (self._labels, self._answers), 1)
        return found.tolist()

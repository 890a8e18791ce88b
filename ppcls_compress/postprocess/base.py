"""What a post-processing declares, and the registry of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppcls_compress.declare import Declarations, Options

SOFTMAX, SIGMOID, NONE = "softmax", "sigmoid", "none"
OUTPUTS = {"probabilities": SOFTMAX, "label_probabilities": SIGMOID, "logits": NONE, "features": NONE}
"""What an exported network gives, by name, and how it comes from the logits."""


class PostProcess(Options):
    """From the scores of one image to an answer.

    Attributes:
        scores: what it reads: probabilities of classes (`softmax`) or of labels one by one (`sigmoid`), or what the
            network gives (`none`); None for the one that fits the labels.
        width: how many scores it reads; None for any number.
    """

    scores: ClassVar[str | None] = None
    width: ClassVar[int | None] = None

    @property
    def names_file(self) -> str | None:
        """The file of the names of classes; None where there is none."""
        return getattr(self, "class_id_map_file", None)

    @property
    def names_delimiter(self) -> str | None:
        """What stands between index and name in that file; None for white space."""
        return getattr(self, "delimiter", None)

    def misfit(self, class_num: int, *, multilabel: bool) -> str | None:
        """Why it cannot read the scores of such a network; None if it can."""
        name = type(self).__name__
        if self.width not in (None, class_num):
            return f"{name} reads {self.width} scores, but there are {class_num} (Arch.class_num)"
        if self.scores in (SOFTMAX, SIGMOID) and multilabel != (self.scores == SIGMOID):
            needed = "several labels of an image" if self.scores == SIGMOID else "one class of an image"
            return f"{name} tells {needed}, but Global.use_multilabel is {multilabel}"
        return None

    def reads(self, *, multilabel: bool) -> str:
        """`softmax`, `sigmoid` or `none`: what it reads of a network with one class or several labels an image."""
        return self.scores or (SIGMOID if multilabel else SOFTMAX)

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """The answer for one image, plain JSON.

        Args:
            scores: float [C].
            names: by class index; None where they are not known.
        """
        raise TypeError(f"{type(self).__name__} has no answer of its own")


POST_PROCESSES: Declarations[PostProcess] = Declarations("post-processing")


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits [N, classes] to the logarithms of their softmax; these stay as they are."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def scores_of(logits: np.ndarray, reads: str) -> np.ndarray:
    """Logits [N, C] to what a post-processing reads: their `softmax`, their `sigmoid`, or `none` of both."""
    if reads == SOFTMAX:
        return np.exp(log_probabilities(logits))
    return 1 / (1 + np.exp(-logits)) if reads == SIGMOID else logits


def listed(indices: Sequence[int], scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
    """An answer that lists some classes in this order; without `names` their list stays empty."""
    return {
        "class_ids": [int(index) for index in indices],
        "scores": [rounded(scores[index]) for index in indices],
        "label_names": [names[index] for index in indices] if names else [],
    }


def rounded(score: float) -> float:
    """A score with the five decimals that mean something."""
    return round(float(score), 5)

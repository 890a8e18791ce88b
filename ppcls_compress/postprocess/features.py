"""The feature by which an image is recognised again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ppcls_compress.postprocess.base import NONE, POST_PROCESSES, PostProcess, rounded


@POST_PROCESSES.declare
class FeatureOutput(PostProcess):
    """The feature itself, prepared as it is compared; what recognition models answer, whatever a file says.

    Attributes:
        normalize: divide it by its length.
        binarize: -1 and 1 in place of its numbers: `round` of features from 0 to 1, `sign` of features around 0.
    """

    scores: ClassVar[str] = NONE

    normalize: bool = True
    binarize: Literal["round", "sign"] | None = None

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"feature"}`, a list of numbers."""
        feature = scores.astype(np.float64)
        if self.normalize:
            feature = feature / max(float(np.linalg.norm(feature)), 1e-12)
        if self.binarize == "round":
            feature = np.round(feature) * 2 - 1
        if self.binarize == "sign":
            feature = np.sign(feature)
        return {"feature": [rounded(number) for number in feature]}

"""Several labels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ppcls_compress.declare import Count, Fraction
from ppcls_compress.postprocess.base import POST_PROCESSES, SIGMOID, PostProcess, listed

_HALF = 0.5


@POST_PROCESSES.declare
class MultiLabelThreshOutput(PostProcess):
    """The labels whose probability reaches a threshold, in the order of their indices.

    Attributes:
        class_id_map_file: a text file of lines `id name`; one that PaddleClas has in `ppcls/utils` need not exist.
        delimiter: what stands between id and name; None is white space.
    """

    scores: ClassVar[str] = SIGMOID

    threshold: Fraction = 0.5
    class_id_map_file: str | None = None
    delimiter: Annotated[str, Field(min_length=1)] | None = None

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"class_ids", "scores", "label_names"}`."""
        return listed(np.flatnonzero(scores >= self.threshold), scores, names)


@POST_PROCESSES.declare
class MultiLabelTopk(PostProcess):
    """The most likely labels of those with a probability of one half at least, the best first.

    Attributes:
        topk: how many at most.
        class_id_map_file: see `MultiLabelThreshOutput`.
    """

    scores: ClassVar[str] = SIGMOID

    topk: Count = 1
    class_id_map_file: str | None = None

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"class_ids", "scores", "label_names"}`."""
        best = np.argsort(-scores, kind="stable")[: self.topk]
        return listed(best[scores[best] >= _HALF], scores, names)

"""One class out of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ppcls_compress.declare import Count, Fraction
from ppcls_compress.postprocess.base import NONE, POST_PROCESSES, SOFTMAX, PostProcess, listed, rounded


@POST_PROCESSES.declare
class Topk(PostProcess):
    """The most likely classes, the best first.

    Attributes:
        topk: how many.
        class_id_map_file: a text file of lines `id name`; one that PaddleClas has in `ppcls/utils` need not exist.
        delimiter: what stands between id and name; None is white space.
    """

    topk: Count = 1
    class_id_map_file: str | None = None
    delimiter: Annotated[str, Field(min_length=1)] | None = None

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"class_ids", "scores", "label_names"}`."""
        return listed(np.argsort(-scores, kind="stable")[: self.topk], scores, names)


@POST_PROCESSES.declare
class DistillationPostProcess(Topk):
    """The same of one of several networks that were trained together.

    Attributes:
        model_name: the network, which must be the one that is exported.
        key: its output; must stay None or be `logits`.
        func: what is done with it.
    """

    model_name: str = "Student"
    key: Literal["logits"] | None = None
    func: Literal["Topk"] = "Topk"


@POST_PROCESSES.declare
class ThreshOutput(PostProcess):
    """Of two classes the second one if its probability reaches a threshold, else the first.

    Of more classes the most likely one, if its probability is above the threshold, else the default one.

    Attributes:
        label_0: name of the first class of two.
        label_1: name of the second class of two.
        default_label_index: class that an image is of where none is likely enough.
        class_id_map_file: names of more than two classes; see `Topk`.
        delimiter: see `Topk`.
    """

    scores: ClassVar[str] = SOFTMAX

    threshold: Fraction = 0.0
    label_0: str = "0"
    label_1: str = "1"
    default_label_index: Annotated[int, Field(ge=0)] = 0
    class_id_map_file: str | None = None
    delimiter: Annotated[str, Field(min_length=1)] | None = None

    def misfit(self, class_num: int, *, multilabel: bool) -> str | None:
        """The default class, which the network must have, too."""
        if self.default_label_index >= class_num:
            return (
                f"default_label_index is {self.default_label_index}, but there are {class_num} classes (Arch.class_num)"
            )
        return super().misfit(class_num, multilabel=multilabel)

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"class_ids", "scores", "label_names"}`, one of each."""
        if len(scores) != 2:
            best = int(scores.argmax())
            return listed([best if scores[best] > self.threshold else self.default_label_index], scores, names)
        second = bool(scores[1] >= self.threshold)
        score = scores[1] if second else 1 - scores[1]
        name = self.label_1 if second else self.label_0
        return {"class_ids": [int(second)], "scores": [rounded(score)], "label_names": [name]}


@POST_PROCESSES.declare
class ScoreOutput(PostProcess):
    """The network's own numbers, as a grade of an image is.

    Attributes:
        decimal_places: of each number.
    """

    scores: ClassVar[str] = NONE

    decimal_places: Annotated[int, Field(ge=0, le=17)]

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"scores"}`."""
        return {"scores": [round(float(score), self.decimal_places) for score in scores]}

"""The attributes of persons, vehicles and tables, in the words and in the order of PaddleClas' PULC networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppcls_compress.declare import Fraction
from ppcls_compress.postprocess.base import POST_PROCESSES, SIGMOID, PostProcess


def _answer(words: Any, scores: np.ndarray, thresholds: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """An answer in words, and 1 or 0 for each score, above its threshold or not."""
    return {"attributes": words, "output": (scores > np.asarray(thresholds)).astype(int).tolist()}


@POST_PROCESSES.declare
class PersonAttribute(PostProcess):
    """What a person is like and carries: 26 scores.

    Attributes:
        threshold: of whatever has none of its own.
        glasses_threshold: of glasses.
        hold_threshold: of objects held in front.
    """

    scores: ClassVar[str] = SIGMOID
    width: ClassVar[int] = 26

    threshold: Fraction = 0.5
    glasses_threshold: Fraction = 0.3
    hold_threshold: Fraction = 0.6

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"attributes", "output"}`; `output` holds a label for each score, with one half where no own is given."""
        thresholds = np.full(len(scores), 0.5)
        thresholds[_GLASSES], thresholds[_HOLDS] = self.glasses_threshold, self.hold_threshold
        return _answer(self._words(scores), scores, thresholds)

    def _words(self, scores: np.ndarray) -> list[str]:
        there = scores > self.threshold
        bag = int(scores[_BAGS].argmax())
        lower = [name for name, worn in zip(_LOWER_NAMES, there[_LOWER], strict=True) if worn]
        upper = ["LongSleeve" if scores[3] > scores[2] else "ShortSleeve"]
        upper += [name for name, worn in zip(_UPPER_NAMES, there[_UPPER], strict=True) if worn]
        return [
            "Female" if there[22] else "Male",
            _AGES[int(scores[19:22].argmax())],
            _SIDES[int(scores[23:26].argmax())],
            f"Glasses: {bool(scores[_GLASSES] > self.glasses_threshold)}",
            f"Hat: {bool(there[0])}",
            f"HoldObjectsInFront: {bool(scores[_HOLDS] > self.hold_threshold)}",
            _BAG_NAMES[bag] if there[_BAGS][bag] else "No bag",
            "Upper: " + " ".join(upper),
            "Lower:  " + " ".join(lower or [_LOWER_NAMES[int(scores[_LOWER].argmax())]]),
            "Boots" if there[14] else "No boots",
        ]


_GLASSES, _HOLDS = 1, 18
_UPPER, _LOWER, _BAGS = slice(4, 8), slice(8, 14), slice(15, 18)
_AGES = ("AgeLess18", "Age18-60", "AgeOver60")
_SIDES = ("Front", "Side", "Back")
_BAG_NAMES = ("HandBag", "ShoulderBag", "Backpack")
_UPPER_NAMES = ("UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice")
_LOWER_NAMES = ("LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress")


@POST_PROCESSES.declare
class VehicleAttribute(PostProcess):
    """The colour and the type of a vehicle: 10 scores and 9."""

    scores: ClassVar[str] = SIGMOID
    width: ClassVar[int] = 19

    color_threshold: Fraction = 0.5
    type_threshold: Fraction = 0.5

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"attributes", "output"}`."""
        colors, types = scores[: len(_COLORS)], scores[len(_COLORS) :]
        words = (
            f"{_best('Color', _COLORS, colors, self.color_threshold)}, "
            f"{_best('Type', _TYPES, types, self.type_threshold)}"
        )
        return _answer(words, scores, [self.color_threshold] * len(colors) + [self.type_threshold] * len(types))


def _best(kind: str, names: Sequence[str], scores: np.ndarray, threshold: float) -> str:
    best = int(scores.argmax())
    return f"{kind}: ({names[best]}, prob: {float(scores[best])})" if scores[best] >= threshold else f"{kind} unknown"


_COLORS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
_TYPES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")


@POST_PROCESSES.declare
class TableAttribute(PostProcess):
    """How the picture of a table was made: 6 scores."""

    scores: ClassVar[str] = SIGMOID
    width: ClassVar[int] = 6

    source_threshold: Fraction = 0.5
    number_threshold: Fraction = 0.5
    color_threshold: Fraction = 0.5
    clarity_threshold: Fraction = 0.5
    obstruction_threshold: Fraction = 0.5
    angle_threshold: Fraction = 0.5

    def answer(self, scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        """`{"attributes", "output"}`."""
        thresholds = [getattr(self, f"{name}_threshold") for name in _TABLE]
        found = _answer([], scores, thresholds)
        chosen = zip(_TABLE.values(), found["output"], strict=True)
        return found | {"attributes": [pair[0] if there else pair[1] for pair, there in chosen]}


_TABLE = {
    "source": ("Scanned", "Photo"),
    "number": ("Little", "Numerous"),
    "color": ("Black-and-White", "Multicolor"),
    "clarity": ("Clear", "Blurry"),
    "obstruction": ("Without-Obstacles", "With-Obstacles"),
    "angle": ("Horizontal", "Tilted"),
}

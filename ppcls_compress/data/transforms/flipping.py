"""Transforms that flip, and turn by quarters."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Images,
    LabelledStep,
    LabellingTransform,
    RandomTransform,
    Step,
)
from ppcls_compress.declare import Fraction


@TRANSFORMS.declare
class RandFlipImage(RandomTransform):
    """Flips half of the images: left-right (1), upside down (0), or both at once (-1)."""

    flip_code: Literal[1, 0, -1] = 1

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return cv2.flip(image, self.flip_code) if rng.integers(2) else image

        return step


@TRANSFORMS.declare
class RandomHorizontalFlip(RandomTransform):
    """Flips some images left-right.

    Attributes:
        prob: of doing so.
        keys: without effect; there is one image.
    """

    prob: Fraction = 0.5
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        return lambda image, rng: cv2.flip(image, 1) if rng.random() < self.prob else image


@TRANSFORMS.declare
class RandomRot90(LabellingTransform):
    """Turns by 0, 90, 180 or 270 degrees counter-clockwise; how many quarters it was is a label of the sample."""

    label_key: ClassVar[str] = "random_rot90_orientation"
    label_count: ClassVar[int] = 4

    def after(self, images: Images) -> Images:
        """An array."""
        return dataclasses.replace(images, by_pillow=False)

    def labelled_step(self, images: Images) -> LabelledStep:
        """The transform of one image, and the quarters that it was turned by."""

        def step(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
            quarters = int(rng.integers(4))
            return np.ascontiguousarray(np.rot90(image, quarters)), quarters

        return step

"""Transforms that flip."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from ppcls_compress.data.transforms.base import TRANSFORMS, RandomTransform, Step


@TRANSFORMS.declare
class RandFlipImage(RandomTransform):
    """Flips half of the images: left-right (1), upside down (0), or both at once (-1)."""

    flip_code: Literal[1, 0, -1] = 1

    def step(self) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return cv2.flip(image, self.flip_code) if rng.integers(2) else image

        return step

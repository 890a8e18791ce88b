"""Transforms that blur."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from ppcls_compress.data.transforms.base import TRANSFORMS, Images, LabelledStep, LabellingTransform
from ppcls_compress.declare import Fraction

Side = Annotated[int, Field(ge=6, le=1001)]


@TRANSFORMS.declare
class BlurImage(LabellingTransform):
    """Blurs some images, half of these as if out of focus and half as if moved; whether is a label of the sample.

    Attributes:
        ratio: probability of blurring.
        motion_max_ksize: below this, the length of a movement in pixels, an odd number from 5.
        motion_max_angle: degrees that its direction is from a diagonal, either way.
        gaussian_max_ksize: below this, width and height of the Gaussian, odd numbers from 5.
    """

    label_key: ClassVar[str] = "blur_image"
    label_count: ClassVar[int] = 2
    ratio: Fraction = 0.5
    motion_max_ksize: Side = 12
    motion_max_angle: Annotated[int, Field(ge=1, le=180)] = 45
    gaussian_max_ksize: Side = 12

    @property
    def needs_uint8(self) -> bool:
        """Contrast is stretched to the range of 8-bit pixels."""
        return True

    def after(self, images: Images) -> Images:
        """An array."""
        return dataclasses.replace(images, by_pillow=False)

    def labelled_step(self, images: Images) -> LabelledStep:
        """The transform of one image, and 1 where it was blurred."""

        def step(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
            if rng.random() >= self.ratio:
                return image, 0
            blur = self._moved if rng.integers(2) else self._out_of_focus
            return blur(np.ascontiguousarray(image), rng), 1

        return step

    def _out_of_focus(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sides = rng.choice(np.arange(5, self.gaussian_max_ksize, 2), size=2)
        return cv2.GaussianBlur(image, tuple(map(int, sides)), 0)

    def _moved(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        length = int(rng.choice(np.arange(5, self.motion_max_ksize, 2)))
        angle = int(rng.integers(-self.motion_max_angle, self.motion_max_angle))
        turn = cv2.getRotationMatrix2D((length / 2, length / 2), angle, 1)
        line = cv2.warpAffine(np.eye(length), turn, (length, length)) / length
        blurred = cv2.filter2D(image, -1, line)
        # As upstream: what the line lacks in sum is made up for by stretching the contrast.
        return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)

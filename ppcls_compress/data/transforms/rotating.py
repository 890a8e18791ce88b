"""Transforms that turn by any angle."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from PIL import Image
from pydantic import AfterValidator, BeforeValidator

from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Images,
    Interval,
    RandomTransform,
    Step,
    lower,
    per_channel,
)
from ppcls_compress.data.transforms.padding import Fill, wrong_fill
from ppcls_compress.declare import Fraction, Number


def _both_ways(value: Any) -> Any:
    return (-value, value) if isinstance(value, int | float) else value


def _ascending(value: Interval) -> Interval:
    if value[0] > value[1]:
        raise ValueError(f"expected a positive number or [low, high] with low <= high, found {list(value)}")
    return value


Degrees = Annotated[Interval, BeforeValidator(_both_ways), AfterValidator(_ascending)]
"""Smallest and largest angle, counter-clockwise; one number is the largest either way."""
_CV2 = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@TRANSFORMS.declare
class RandomRotation(RandomTransform):
    """Turns some images by a random angle, by Pillow where PaddleClas holds its images and by OpenCV otherwise.

    Attributes:
        prob: of doing so.
        degrees: see `Degrees`.
        interpolation: nearest, bilinear or bicubic.
        expand: make the image as large as the turned one is.
        center: (x, y) of what stays in its place; None is the middle.
        fill: value of what comes in from outside, or one per channel.
        keys: without effect; there is one image.
    """

    prob: Fraction = 0.5
    degrees: Degrees
    interpolation: Annotated[Literal["nearest", "bilinear", "bicubic"], BeforeValidator(lower)] = "nearest"
    expand: bool = False
    center: tuple[Number, Number] | None = None
    fill: Fill = (0.0,)
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    @property
    def needs_uint8(self) -> bool:
        """Pillow's images are 8-bit."""
        return True

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value for what comes in from outside, or one for each channel."""
        return wrong_fill(self.fill, images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        turn = self._by_pillow if images.by_pillow else self._by_opencv
        fill = per_channel(self.fill, images.channels)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return turn(image, rng.uniform(*self.degrees), fill) if rng.random() < self.prob else image

        return step

    def _by_pillow(self, image: np.ndarray, angle: float, fill: tuple[float, ...]) -> np.ndarray:
        flat = image[:, :, 0] if image.shape[2] == 1 else image
        colour = tuple(int(value) for value in fill)
        turned = Image.fromarray(flat).rotate(
            angle,
            _PIL[self.interpolation],
            expand=self.expand,
            center=self.center,
            fillcolor=colour if len(colour) > 1 else colour[0],
        )
        return np.asarray(turned)

    def _by_opencv(self, image: np.ndarray, angle: float, fill: tuple[float, ...]) -> np.ndarray:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(self.center or (width / 2, height / 2), angle, 1)
        size = (width, height)
        if self.expand:
            size = _size_of_turned(width, height, angle, self.center or (width / 2, height / 2))
            matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
        return cv2.warpAffine(image, matrix, size, flags=_CV2[self.interpolation], borderValue=fill)


def _size_of_turned(width: int, height: int, angle: float, center: tuple[float, float]) -> tuple[int, int]:
    """Width and height of the smallest upright box of whole pixels around a turned image.

    Paddle turns the corners clockwise for it, which makes a difference where the centre is not the middle.
    """
    cosine, sine = (round(function(-math.radians(angle)), 15) for function in (math.cos, math.sin))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)]) - center
    turned = corners @ np.array([[cosine, -sine], [sine, cosine]]) + center
    across, down = np.ceil(turned.max(axis=0)) - np.floor(turned.min(axis=0))
    return int(across), int(down)

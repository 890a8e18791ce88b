"""Transforms that cut out or add pixels without resampling."""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from ppcls_compress.data.transforms.base import TRANSFORMS, RandomTransform, Size, Step, Transform
from ppcls_compress.declare import Number
from ppcls_compress.errors import UserError

_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


@TRANSFORMS.declare
class CropImage(Transform):
    """Cuts `size` out of the centre."""

    size: Size

    def step(self) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            spare_height, spare_width = _spare(image, self)
            return _cut(image, spare_height // 2, spare_width // 2, self.size)

        return step


@TRANSFORMS.declare
class RandCropImageV2(RandomTransform):
    """Cuts `size` out at a random place, without resizing. After `Pad` this is the usual CIFAR crop."""

    size: Size

    def step(self) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            spare_height, spare_width = _spare(image, self)
            top, left = rng.integers((spare_height + 1, spare_width + 1))
            return _cut(image, int(top), int(left), self.size)

        return step


@TRANSFORMS.declare
class RandomCropImage(RandCropImageV2):
    """The same as `RandCropImageV2`, under PaddleClas's other name."""


@TRANSFORMS.declare
class Pad(Transform):
    """Adds `padding` pixels on all four sides.

    Attributes:
        fill: value of the new pixels, or one per channel, for `padding_mode: constant`.
        padding_mode: `reflect` leaves the border pixel single, `symmetric` repeats it.
    """

    padding: Annotated[int, Field(ge=0, le=2**15)]
    fill: Number | Annotated[tuple[Number, ...], Field(min_length=1, max_length=3)] = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def misfit(self, channels: int) -> tuple[str, str] | None:
        """One value, or one for each channel."""
        if isinstance(self.fill, tuple) and len(self.fill) != channels:
            return "fill", f"found {len(self.fill)} values, images have {channels} channels here"
        return None

    def step(self) -> Step:
        """The transform of one image."""
        border, width = _BORDERS[self.padding_mode], self.padding
        fill = self.fill if isinstance(self.fill, tuple) else (self.fill,) * 3

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if border == cv2.BORDER_REFLECT_101 and width >= min(image.shape[:2]):
                raise UserError(f"Pad cannot reflect {width} pixels of an image of shape {list(image.shape)}")
            return cv2.copyMakeBorder(image, width, width, width, width, border, value=fill)

        return step


def _spare(image: np.ndarray, op: CropImage | RandCropImageV2) -> tuple[int, int]:
    """Rows and columns that the crop leaves over."""
    (width, height), (rows, columns) = op.size, image.shape[:2]
    if rows < height or columns < width:
        raise UserError(
            f"{type(op).__name__} of {width}x{height} does not fit into an image of {columns}x{rows} (width x height); "
            "resize or pad it first"
        )
    return rows - height, columns - width


def _cut(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    return image[top : top + size[1], left : left + size[0]]

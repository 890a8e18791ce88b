"""Transforms that cut out without resampling."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator

from ppcls_compress.data.transforms.base import TRANSFORMS, Images, RandomTransform, Size, Step, Transform, pair
from ppcls_compress.data.transforms.padding import Fill, PaddingMode, Sides, bordered, padded, wrong_fill
from ppcls_compress.declare import PositiveInt
from ppcls_compress.errors import UserError

HeightWidth = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(pair)]
"""(height, width) in pixels, as the transforms that are Paddle's have it; one number means a square."""


@TRANSFORMS.declare
class CropImage(Transform):
    """Cuts `size` out of the centre."""

    size: Size

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            rows, columns = _spare(image, self.size, "CropImage")
            return cut(image, rows // 2, columns // 2, self.size)

        return step


@TRANSFORMS.declare
class CenterCrop(Transform):
    """Cuts `size`, (height, width), out of the centre; where it is odd, half a pixel is rounded to an even number.

    Attributes:
        keys: without effect; there is one image.
    """

    size: HeightWidth
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        size = self.size[::-1]

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            rows, columns = _spare(image, size, "CenterCrop")
            return cut(image, round(rows / 2), round(columns / 2), size)

        return step


@TRANSFORMS.declare
class RandCropImageV2(RandomTransform):
    """Cuts `size` out at a random place, without resizing. After `Pad` this is the usual CIFAR crop."""

    size: Size

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        return _at_random(self.size, "RandCropImageV2")


@TRANSFORMS.declare
class RandomCropImage(RandomTransform):
    """The same as `RandCropImageV2`, under PaddleClas's other name."""

    size: Size

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        return _at_random(self.size, "RandomCropImage")


@TRANSFORMS.declare
class RandomCrop(RandomTransform):
    """Cuts `size`, (height, width), out at a random place, with a border where that is asked for.

    Attributes:
        padding: border that is added first: one number, [left and right, top and bottom] or [left, top, right, bottom].
        pad_if_needed: add as much on both sides as a smaller image lacks.
        fill: value of a constant border, or one per channel.
        padding_mode: as `Pad` has it.
        keys: without effect; there is one image.
    """

    size: HeightWidth
    padding: Sides | None = None
    pad_if_needed: bool = False
    fill: Fill = (0.0,)
    padding_mode: PaddingMode = "constant"
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value for the border, or one for each channel."""
        return wrong_fill(self.fill, images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        height, width = self.size
        crop = _at_random((width, height), "RandomCrop")
        border = bordered(self.fill, self.padding_mode, "RandomCrop")

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if self.padding is not None:
                image = padded(image, self.padding, border)
            if self.pad_if_needed and image.shape[1] < width:
                image = padded(image, (width - image.shape[1], 0), border)
            if self.pad_if_needed and image.shape[0] < height:
                image = padded(image, (0, height - image.shape[0]), border)
            return crop(image, rng)

        return step


def _at_random(size: tuple[int, int], name: str) -> Step:
    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = _spare(image, size, name)
        top, left = rng.integers((rows + 1, columns + 1))
        return cut(image, int(top), int(left), size)

    return step


def _spare(image: np.ndarray, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Rows and columns that the crop leaves over."""
    (width, height), (rows, columns) = size, image.shape[:2]
    if rows < height or columns < width:
        raise UserError(
            f"{name} of {width}x{height} does not fit into an image of {columns}x{rows} (width x height); "
            "resize or pad it first"
        )
    return rows - height, columns - width


def cut(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """The part of `size`, (width, height), whose upper left corner is there."""
    return image[top : top + size[1], left : left + size[0]]

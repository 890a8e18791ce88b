"""Transforms that resize, and what resizing there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self

import cv2
import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field, model_validator

from ppcls_compress.data.images.header import MOST_PIXELS
from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Backend,
    Images,
    RandomTransform,
    Size,
    Step,
    Transform,
    lower,
)
from ppcls_compress.data.transforms.cropping import HeightWidth, cut
from ppcls_compress.declare import Fraction, PositiveInt
from ppcls_compress.errors import UserError, unknown

Resizing = Callable[[np.ndarray, tuple[int, int], np.random.Generator], np.ndarray]

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}
INTERPOLATIONS: Mapping[str, tuple[str, ...]] = {
    "cv2": (*_CV2, "random"),
    "pil": (*_PIL, "random"),
}
"""Interpolation names by backend; `random` draws bilinear or bicubic for every image."""

Interpolation = Annotated[str | None, BeforeValidator(lower)]


class Resampling(Transform):
    """Base of those transforms that choose their library.

    Attributes:
        interpolation: see `INTERPOLATIONS`; None is bilinear for OpenCV and bicubic for Pillow.
        backend: OpenCV or Pillow.
    """

    interpolation: Interpolation = None
    backend: Backend = "cv2"

    @property
    def is_random(self) -> bool:
        """Whether the interpolation is drawn."""
        return self.interpolation == "random"

    @property
    def needs_uint8(self) -> bool:
        """Pillow resizes 8-bit images only."""
        return self.backend == "pil"

    @model_validator(mode="after")
    def _known_interpolation(self) -> Self:
        allowed = INTERPOLATIONS[self.backend]
        if self.interpolation is not None and self.interpolation not in allowed:
            raise ValueError(unknown(f"interpolation of backend {self.backend}", self.interpolation, allowed))
        return self

    def after(self, images: Images) -> Images:
        """OpenCV's are arrays."""
        return images if self.backend == "pil" else dataclasses.replace(images, by_pillow=False)


class PaddleResampling(Transform):
    """Base of those that PaddleClas takes from Paddle: Pillow does the work where PaddleClas holds its images.

    Attributes:
        interpolation: see `INTERPOLATIONS`; there is none at random.
        keys: without effect; there is one image.
    """

    interpolation: Annotated[str, BeforeValidator(lower)] = "bilinear"
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """An interpolation that the library has."""
        backend = _library(images)
        allowed = [name for name in INTERPOLATIONS[backend] if name != "random"]
        if self.interpolation in allowed:
            return None
        return "interpolation", unknown(f"interpolation of backend {backend}", self.interpolation, allowed)

    def resizing(self, images: Images) -> Resizing:
        """Resizing to (width, height)."""
        return resizing(self.interpolation, _library(images))


def _library(images: Images) -> str:
    return "pil" if images.by_pillow else "cv2"


@TRANSFORMS.declare
class ResizeImage(Resampling):
    """Resizes to `size`, or so that the short side is `resize_short` pixels with the aspect ratio kept.

    Attributes:
        size: (width, height).
        return_numpy: False leaves an image of Pillow to transforms that PaddleClas takes from Paddle, which then use
            Pillow.
    """

    size: Size | None = None
    resize_short: PositiveInt | None = None
    return_numpy: bool = True

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.size is None) == (self.resize_short is None):
            found = "neither" if self.size is None else "both"
            raise ValueError(f"expected either size or resize_short, found {found}")
        return self

    def after(self, images: Images) -> Images:
        """Pillow's, if it is to stay so."""
        return dataclasses.replace(images, by_pillow=self.backend == "pil" and not self.return_numpy)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        resize = resizing(self.interpolation, self.backend)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            size = self.size or _short_side(image, self.resize_short, round)
            return resize(image, size, rng)

        return step


@TRANSFORMS.declare
class Resize(PaddleResampling):
    """Resizes to `size`, (height, width); one number is the short side, and the aspect ratio is kept."""

    size: PositiveInt | HeightWidth

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        resize = self.resizing(images)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if isinstance(self.size, tuple):
                return resize(image, self.size[::-1], rng)
            if min(image.shape[:2]) == self.size:
                return image
            return resize(image, _short_side(image, self.size, int), rng)

        return step


@TRANSFORMS.declare
class CropImageAtRatio(PaddleResampling):
    """Cuts a square out of the centre, `size / (size + pad)` of the short side, and resizes it to `size`."""

    size: PositiveInt
    pad: Annotated[int, Field(ge=0, le=2**15)]

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        resize, ratio = self.resizing(images), self.size / (self.size + self.pad)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            rows, columns = image.shape[:2]
            side = max(int(ratio * min(rows, columns)), 1)
            square = cut(image, (rows - side) // 2, (columns - side) // 2, (side, side))
            return resize(square, (self.size, self.size), rng)

        return step


@TRANSFORMS.declare
class RandomInterpolationAugment(RandomTransform):
    """Makes some images a square of 0.2 to 1 of the height and large again, each by any interpolation of OpenCV.

    Attributes:
        prob: of doing so.
    """

    prob: Fraction

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        codes = tuple(_CV2.values())

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if rng.random() >= self.prob:
                return image
            rows, columns = image.shape[:2]
            side = max(int(rng.uniform(0.2, 1) * rows), 1)
            down, up = (codes[number] for number in rng.integers(len(codes), size=2))
            return cv2.resize(cv2.resize(image, (side, side), interpolation=down), (columns, rows), interpolation=up)

        return step


def resizing(interpolation: str | None, backend: str) -> Resizing:
    """Resizing to (width, height) with the named interpolation; `random` draws bilinear or bicubic."""
    codes, default = (_PIL, "bicubic") if backend == "pil" else (_CV2, "bilinear")
    names = ("bilinear", "bicubic") if interpolation == "random" else (interpolation or default,)

    def resize(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        if size[0] * size[1] > MOST_PIXELS:
            raise UserError(f"resizing to {size[0]} x {size[1]} makes more than {MOST_PIXELS:,} pixels")
        code = codes[names[0] if len(names) == 1 else names[int(rng.integers(len(names)))]]
        if backend == "pil":
            flat = image[:, :, 0] if image.shape[2] == 1 else image  # of a grey image Pillow knows no third axis
            return np.asarray(Image.fromarray(flat).resize(size, code))
        return cv2.resize(image, size, interpolation=code)

    return resize


def _short_side(image: np.ndarray, target: int, whole: Callable[[float], int]) -> tuple[int, int]:
    """Width and height for a short side of `target`; `whole` makes whole pixels of a part."""
    height, width = image.shape[:2]
    if whole is int:
        short, long = sorted((height, width))
        sides = (target, int(target * long / short))
        return sides if width <= height else sides[::-1]
    factor = target / min(height, width)
    return round(width * factor), round(height * factor)

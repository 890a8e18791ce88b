"""Transforms that resample: resizing, and the Inception crop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Self

import cv2
import numpy as np
from PIL import Image
from pydantic import BeforeValidator, field_validator, model_validator

from ppcls_compress.data.images.header import MOST_PIXELS
from ppcls_compress.data.transforms.base import TRANSFORMS, Backend, Interval, Size, Step, Transform, lower
from ppcls_compress.declare import PositiveInt
from ppcls_compress.errors import UserError, unknown

Resize = Callable[[np.ndarray, tuple[int, int], np.random.Generator], np.ndarray]

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

_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


class _Resampling(Transform):
    interpolation: Annotated[str | None, BeforeValidator(lower)] = None
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


@TRANSFORMS.declare
class RandCropImage(_Resampling):
    """Crops a random part of random area and aspect ratio and resizes it to `size` (the Inception crop).

    Attributes:
        size: (width, height) of the result.
        scale: smallest and largest part of the image's area, 0 < low <= high <= 1.
        ratio: smallest and largest width : height.
        interpolation: see `INTERPOLATIONS`; None is bilinear for OpenCV and bicubic for Pillow.
    """

    size: Size
    scale: Interval | None = None
    ratio: Interval | None = None

    @field_validator("scale")
    @classmethod
    def _scale_is_a_part(cls, value: Interval | None) -> Interval | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"expected [low, high] with 0 < low <= high <= 1, found {list(value)}")
        return value

    @field_validator("ratio")
    @classmethod
    def _ratio_is_an_interval(cls, value: Interval | None) -> Interval | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError(f"expected [low, high] with 0 < low <= high, found {list(value)}")
        return value

    @property
    def is_random(self) -> bool:
        """True."""
        return True

    def step(self) -> Step:
        """The transform of one image."""
        resize = _resizer(self.interpolation, self.backend)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            height, width = image.shape[:2]
            stretch = math.sqrt(rng.uniform(*(self.ratio or _RATIO)))
            # The largest part of the area at which a crop of this shape still lies inside the image.
            bound = min(width / height / stretch**2, height / width * stretch**2)
            low, high = (min(part, bound) for part in self.scale or _SCALE)
            side = math.sqrt(width * height * rng.uniform(low, high))
            crop_width = min(max(int(side * stretch), 1), width)
            crop_height = min(max(int(side / stretch), 1), height)
            left = int(rng.integers(width - crop_width + 1))
            top = int(rng.integers(height - crop_height + 1))
            return resize(image[top : top + crop_height, left : left + crop_width], self.size, rng)

        return step


@TRANSFORMS.declare
class ResizeImage(_Resampling):
    """Resizes to `size`, or so that the short side is `resize_short` pixels with the aspect ratio kept."""

    size: Size | None = None
    resize_short: PositiveInt | None = None
    return_numpy: bool = True
    inert: ClassVar = {"return_numpy": (True, "images are NumPy arrays between transforms in any case")}

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.size is None) == (self.resize_short is None):
            found = "neither" if self.size is None else "both"
            raise ValueError(f"expected either size or resize_short, found {found}")
        return self

    def step(self) -> Step:
        """The transform of one image."""
        resize = _resizer(self.interpolation, self.backend)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            size = self.size or _short_side(image, self.resize_short)
            return resize(image, size, rng)

        return step


def _resizer(interpolation: str | None, backend: str) -> Resize:
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


def _short_side(image: np.ndarray, target: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    factor = target / min(height, width)
    return round(width * factor), round(height * factor)

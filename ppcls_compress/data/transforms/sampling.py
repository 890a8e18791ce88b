"""Transforms that cut out a part of random area and aspect ratio (the Inception crop, arXiv:1409.4842, section 6)."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from ppcls_compress.data.transforms.base import TRANSFORMS, Images, Interval, RandomTransform, Size, Step, Transform
from ppcls_compress.data.transforms.cropping import HeightWidth, cut
from ppcls_compress.data.transforms.resampling import PaddleResampling, Resampling, resizing
from ppcls_compress.data.transforms.stages import stage
from ppcls_compress.declare import Fraction, PositiveInt


def _part(value: Interval) -> Interval:
    if not 0 < value[0] <= value[1] <= 1:
        raise ValueError(f"expected [low, high] with 0 < low <= high <= 1, found {list(value)}")
    return value


def _positive(value: Interval) -> Interval:
    if not 0 < value[0] <= value[1]:
        raise ValueError(f"expected [low, high] with 0 < low <= high, found {list(value)}")
    return value


Scale = Annotated[Interval, AfterValidator(_part)]
"""Smallest and largest part of the image's area."""
Ratio = Annotated[Interval, AfterValidator(_positive)]
"""Smallest and largest width : height."""
_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


@TRANSFORMS.declare
class RandCropImage(Resampling):
    """Crops a random part of random area and aspect ratio and resizes it to `size`.

    A part that is larger than the image at its aspect ratio is made smaller.

    Attributes:
        size: (width, height) of the result.
        progress_size: sides of square results instead, one for each of as many equal parts of the run.
        scale: see `Scale`; None is 0.08 to 1.
        ratio: see `Ratio`; None is 3/4 to 4/3.
        use_log_aspect: draw the logarithm of the aspect ratio, so that wide and high are equally likely.
    """

    size: Size
    progress_size: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    scale: Scale | None = None
    ratio: Ratio | None = None
    use_log_aspect: bool = False

    @property
    def is_random(self) -> bool:
        """True."""
        return True

    def at(self, epoch: int, epochs: int) -> Transform:
        """The size of this part of the run."""
        if self.progress_size is None:
            return self
        side = stage(self.progress_size, epoch, epochs)
        return self.model_copy(update={"size": (side, side), "progress_size": None})

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        resize = resizing(self.interpolation, self.backend)
        ratio, scale = self.ratio or _RATIO, self.scale or _SCALE

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            height, width = image.shape[:2]
            aspect = _log_uniform(ratio, rng) if self.use_log_aspect else rng.uniform(*ratio)
            # The largest part of the area at which a crop of this shape still lies inside the image.
            bound = min(width / height / aspect, height / width * aspect)
            low, high = (min(part, bound) for part in scale)
            area = width * height * rng.uniform(low, high)
            crop_width = min(max(int(math.sqrt(area * aspect)), 1), width)
            crop_height = min(max(int(math.sqrt(area / aspect)), 1), height)
            left = int(rng.integers(width - crop_width + 1))
            top = int(rng.integers(height - crop_height + 1))
            return resize(cut(image, top, left, (crop_width, crop_height)), self.size, rng)

        return step


@TRANSFORMS.declare
class RandomResizedCrop(PaddleResampling):
    """Crops a random part and resizes it to `size`, (height, width), as Paddle does.

    Ten areas and aspect ratios are tried; if none lies inside the image, its middle is taken.

    Attributes:
        scale: see `Scale`.
        ratio: see `Ratio`; its logarithm is uniform.
    """

    size: HeightWidth
    scale: Scale = _SCALE
    ratio: Ratio = _RATIO

    @property
    def is_random(self) -> bool:
        """True."""
        return True

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        resize = self.resizing(images)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            top, left, height, width = _tried(image, self.scale, self.ratio, rng)
            return resize(cut(image, top, left, (width, height)), self.size[::-1], rng)

        return step


@TRANSFORMS.declare
class CropWithPadding(RandomTransform):
    """Keeps a random part of some images and paints the rest over; nothing is resized.

    Attributes:
        prob: of doing so.
        padding_num: value of what is painted over.
        size: without effect; images keep their size.
        scale: see `Scale`.
        ratio: see `Ratio`; its logarithm is uniform.
        interpolation: without effect, as nothing is resized.
        key: without effect; there is one image.
    """

    inert: ClassVar[dict] = {
        "size": ((224, 224), "images keep their size"),
        "interpolation": ("bilinear", "nothing is resized"),
        "key": (None, "a sample has one image"),
    }

    prob: Fraction = 1.0
    padding_num: Annotated[int, Field(ge=0, le=255)] = 0
    size: HeightWidth = (224, 224)
    scale: Scale = _SCALE
    ratio: Ratio = _RATIO
    interpolation: str = "bilinear"
    key: str | None = None

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if rng.random() >= self.prob:
                return image
            top, left, height, width = _tried(image, self.scale, self.ratio, rng)
            result = np.full_like(image, self.padding_num)
            cut(result, top, left, (width, height))[:] = cut(image, top, left, (width, height))
            return result

        return step

    def after(self, images: Images) -> Images:
        """An array."""
        return dataclasses.replace(images, by_pillow=False)


def _log_uniform(interval: Interval, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(interval[0]), math.log(interval[1])))


def _tried(image: np.ndarray, scale: Interval, ratio: Interval, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first of ten parts that lies inside the image; of its middle otherwise."""
    rows, columns = image.shape[:2]
    for _ in range(10):
        area, aspect = rng.uniform(*scale) * rows * columns, _log_uniform(ratio, rng)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width
    width, height = columns, rows
    if columns / rows < ratio[0]:
        height = round(columns / ratio[0])
    elif columns / rows > ratio[1]:
        width = round(rows * ratio[1])
    return (rows - height) // 2, (columns - width) // 2, height, width

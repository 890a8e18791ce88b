"""Transforms that erase parts of an image, 8-bit or normalised, channels first or last."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field

from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Images,
    PerChannel,
    RandomTransform,
    Step,
    Transform,
    per_channel,
    wrong_count,
)
from ppcls_compress.declare import Count, Fraction, Positive, PositiveInt


@TRANSFORMS.declare
class RandomErasing(RandomTransform):
    """Erases a random rectangle of some images (arXiv:1708.04896, algorithm 1).

    Attributes:
        EPSILON: probability of erasing.
        sl: smallest part of the image's area.
        sh: largest.
        r1: smallest height : width; 1 / r1 is the largest.
        mean: value for `mode: const`, or one per channel, in the units of the pixels at this place.
        attempt: how many rectangles are tried until one lies inside the image.
        use_log_aspect: draw the logarithm of the aspect ratio.
        mode: `const` paints with `mean`; `rand` and `pixel` draw from N(0, 1), once per channel or for each pixel, and
            are for images that are normalised.
    """

    takes: ClassVar[str] = "any"
    EPSILON: Fraction = 0.5
    sl: Fraction = 0.02
    sh: Fraction = 0.4
    r1: Annotated[Positive, Field(le=1)] = 0.3
    mean: PerChannel = (0.0, 0.0, 0.0)
    attempt: Count = 100
    use_log_aspect: bool = False
    mode: Literal["const", "rand", "pixel"] = "const"

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value, or one for each channel; an interval that is none; noise that 8-bit pixels cannot hold."""
        if (text := wrong_count(self.mean, images.channels)) is not None:
            return "mean", text
        if self.sl > self.sh:
            return "sl", f"found {self.sl:g}, which is more than sh: {self.sh:g}"
        if self.mode != "const" and images.changed_by is None:
            return "mode", f"{self.mode} draws from N(0, 1), which 8-bit pixels cannot hold; normalise the image before"
        return None

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        mean = np.float32(per_channel(self.mean, images.channels))
        ratios = (self.r1, 1 / self.r1)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if rng.random() >= self.EPSILON:
                return image
            rows, columns = image.shape[:2]
            for _ in range(self.attempt):
                area = rng.uniform(self.sl, self.sh) * rows * columns
                aspect = math.exp(rng.uniform(*map(math.log, ratios))) if self.use_log_aspect else rng.uniform(*ratios)
                height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                if height < rows and width < columns:
                    top, left = rng.integers((rows - height + 1, columns - width + 1))
                    image = _own(image)
                    # Not the channel of zeros that NormalizeImage.channel_num appends.
                    part = image[top : top + height, left : left + width, : len(mean)]
                    part[:] = self._paint(part.shape, mean, rng)
                    break
            return image

        return step

    def _paint(self, shape: tuple[int, ...], mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.mode == "const":
            return mean
        size = shape if self.mode == "pixel" else shape[2:]
        return rng.standard_normal(size, dtype=np.float32)


@TRANSFORMS.declare
class Cutout(RandomTransform):
    """Erases squares around uniform centres, as far as they lie inside the image (arXiv:1708.04552, section 3).

    Attributes:
        n_holes: how many.
        length: of a side, in pixels.
        fill_value: of what is erased, or one per channel; null, or `none`, draws a colour for each square.
    """

    takes: ClassVar[str] = "any"
    n_holes: Count = 1
    length: PositiveInt = 112
    fill_value: Annotated[PerChannel | None, BeforeValidator(lambda value: None if value == "none" else value)] = (
        0.0,
        0.0,
        0.0,
    )

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value, or one for each channel; a colour that a normalised image has not."""
        if (text := wrong_count(self.fill_value, images.channels)) is not None:
            return "fill_value", text
        if self.fill_value is None and images.changed_by:
            return "fill_value", f"none draws an 8-bit colour, and {images.changed_by} comes before"
        return None

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        half = self.length // 2
        fill = self.fill_value and per_channel(self.fill_value, images.channels)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            image = _own(image)
            rows, columns = image.shape[:2]
            for _ in range(self.n_holes):
                y, x = (int(centre) for centre in rng.integers((rows, columns)))
                colour = rng.integers(256, size=images.channels) if fill is None else fill
                image[max(y - half, 0) : y + half, max(x - half, 0) : x + half, : images.channels] = colour
            return image

        return step


@TRANSFORMS.declare
class HideAndSeek(RandomTransform):
    """Divides the image into squares, of 16, 32, 44 or 56 pixels or not at all, and erases half of them.

    (arXiv:1811.02545, section 3.) PaddleClas takes the first axis for the channels; so [H, W, C] images, which its own
    configuration has, lose columns at the left edge there. Here the squares are those of the image in either layout.
    """

    takes: ClassVar[str] = "any"

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            side = int(rng.choice((0, 16, 32, 44, 56)))
            if not side:
                return image
            image = _own(image)
            rows, columns = image.shape[:2]
            kept = rng.random((-(-rows // side), -(-columns // side))) >= 0.5
            mask = kept.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]
            image[~mask] = 0
            return image

        return step


_RAMP = 240
"""Epochs."""


@TRANSFORMS.declare
class GridMask(RandomTransform):
    """Erases stripes both ways, between which squares stay (arXiv:2001.04086, section 3), or those squares.

    The probability grows over the first 240 epochs.

    Attributes:
        d1: smallest distance of the stripes, in pixels.
        d2: below this the largest.
        rotate: degrees below which the grid is turned; 1 leaves it upright.
        ratio: width of a stripe to their distance.
        mode: 1 erases the squares instead, as the paper does, and keeps the stripes.
        prob: of erasing anything, from the 240th epoch on; before, it is in proportion to the epoch, counted from 0.
    """

    takes: ClassVar[str] = "any"
    d1: PositiveInt = 96
    d2: PositiveInt = 224
    rotate: PositiveInt = 1
    ratio: Fraction = 0.5
    mode: Literal[0, 1] = 0
    prob: Fraction = 1.0

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """Distances that can be drawn."""
        return ("d2", f"found {self.d2}, which is not above d1: {self.d1}") if self.d2 <= self.d1 else None

    def at(self, epoch: int, epochs: int) -> Transform:
        """With the probability of this epoch."""
        return self.model_copy(update={"prob": self.prob * min(1, epoch / _RAMP)})

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if rng.random() >= self.prob:
                return image
            kept = self._mask(image.shape[0], image.shape[1], rng)
            return image * (1 - kept if self.mode == 1 else kept)[:, :, None].astype(image.dtype)

        return step

    def _mask(self, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
        """uint8 [H, W]: 1 where the image stays, cut out of a grid of one and a half its size."""
        tall, wide = int(1.5 * rows), int(1.5 * columns)
        distance = int(rng.integers(self.d1, self.d2))
        top, left = rng.integers(distance, size=2)
        length = int(distance * self.ratio + 0.5)
        in_row = (np.arange(tall) - top) % distance < length
        in_column = (np.arange(wide) - left) % distance < length
        mask = Image.fromarray(np.uint8(~in_row[:, None] & ~in_column[None, :]))
        turned = np.asarray(mask.rotate(int(rng.integers(self.rotate))))
        return turned[(tall - rows) // 2 :, (wide - columns) // 2 :][:rows, :columns]


def _own(image: np.ndarray) -> np.ndarray:
    """An image that may be written to: Pillow's are read-only, and a decoded one belongs to the caller."""
    return image.copy() if image.dtype == np.uint8 or not image.flags.writeable else image

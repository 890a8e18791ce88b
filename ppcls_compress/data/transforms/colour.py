"""Transforms of colours."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
from pydantic import AfterValidator, BeforeValidator

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, Interval, RandomTransform, Step
from ppcls_compress.declare import Fraction, NonNegative


def _around_one(value: Any) -> Any:
    return (max(1 - value, 0), 1 + value) if isinstance(value, int | float) and value >= 0 else value


def _around_zero(value: Any) -> Any:
    return (-value, value) if isinstance(value, int | float) and value >= 0 else value


def _factors(value: Interval) -> Interval:
    if not 0 <= value[0] <= value[1]:
        raise ValueError(f"expected a number from 0, or [low, high] with 0 <= low <= high, found {list(value)}")
    return value


def _turn(value: Interval) -> Interval:
    if not -0.5 <= value[0] <= value[1] <= 0.5:
        raise ValueError(f"expected a number from 0 to 0.5, or [low, high] inside [-0.5, 0.5], found {list(value)}")
    return value


Factors = Annotated[Interval, BeforeValidator(_around_one), AfterValidator(_factors)]
"""Smallest and largest factor; one number x means 1 - x, or 0 if that is less, to 1 + x."""
Turn = Annotated[Interval, BeforeValidator(_around_zero), AfterValidator(_turn)]
"""Smallest and largest turn of the hue, 1 being the whole circle; one number is the largest either way."""


class _Jitter(RandomTransform):
    """Changes brightness, contrast, saturation and hue, in random order, each as Pillow does.

    Attributes:
        brightness: see `Factors`.
        contrast: likewise.
        saturation: likewise.
        hue: see `Turn`.
        keys: without effect; there is one image.
    """

    brightness: Factors = (1.0, 1.0)
    contrast: Factors = (1.0, 1.0)
    saturation: Factors = (1.0, 1.0)
    hue: Turn = (0.0, 0.0)
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    @property
    def needs_uint8(self) -> bool:
        """Pillow's images are 8-bit."""
        return True

    def jitter(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The change of one image, uint8 [H, W, 3]."""
        changes = (
            (pixels.brightness, self.brightness, 1),
            (pixels.contrast, self.contrast, 1),
            (pixels.colour, self.saturation, 1),
            (pixels.hue, self.hue, 0),
        )
        for number in rng.permutation(len(changes)):
            change, interval, nothing = changes[number]
            if interval != (nothing, nothing):
                image = change(image, rng.uniform(*interval))
        return image


@TRANSFORMS.declare
class RawColorJitter(_Jitter):
    """Paddle's `ColorJitter`, under PaddleClas's name for it."""

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        return pixels.of_colour(self.jitter, images)


@TRANSFORMS.declare
class ColorJitter(_Jitter):
    """The same for some images.

    Attributes:
        prob: of doing so; 1 or more does it always.
    """

    prob: NonNegative = 2.0

    def after(self, images: Images) -> Images:
        """An array."""
        return dataclasses.replace(images, by_pillow=False)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        jitter = pixels.of_colour(self.jitter, images)
        return lambda image, rng: jitter(image, rng) if rng.random() < self.prob else image


@TRANSFORMS.declare
class RandomGrayscale(RandomTransform):
    """Makes all channels the luma, for some images.

    Attributes:
        p: probability of doing so.
    """

    p: Fraction = 0.1

    @property
    def needs_uint8(self) -> bool:
        """Pillow's images are 8-bit."""
        return True

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        if images.channels == 1:
            return lambda image, rng: image
        return lambda image, rng: pixels.colour(image, 0.0) if rng.random() < self.p else image


_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_DEVIATION = 0.1


@TRANSFORMS.declare
class PCALighting(RandomTransform):
    """Adds a random colour along the principal components of ImageNet's colours (AlexNet, section 4.1)."""

    @property
    def needs_uint8(self) -> bool:
        """The components are those of 8-bit pixels."""
        return True

    def step(self, images: Images) -> Step:
        """The transform of one image; a grey one gets the luma of the colour."""
        weights = np.array([[0.299, 0.587, 0.114]]) if images.channels == 1 else np.eye(3)
        values = np.arange(256)[None, :, None]

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            colour = weights @ (_EIGENVECTORS @ (rng.normal(0, _DEVIATION, 3) * _EIGENVALUES))
            return cv2.LUT(image, np.clip(values + 255 * colour, 0, 255).astype(np.uint8)).reshape(image.shape)

        return step

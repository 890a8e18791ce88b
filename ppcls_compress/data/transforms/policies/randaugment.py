"""RandAugments: a number of changes drawn with equal probability, all of one magnitude (arXiv:1909.13719)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, Step, Transform, lower
from ppcls_compress.data.transforms.policies.base import Policy
from ppcls_compress.data.transforms.policies.classic import FillColour, Style, changed
from ppcls_compress.data.transforms.stages import stage
from ppcls_compress.declare import Count, NonNegative

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _drawn(magnitudes: Mapping[str, float], number: int, style: Style, images: Images) -> Step:
    """The step that makes so many of the changes, each drawn from all of them."""
    names = tuple(magnitudes)

    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for index in rng.integers(len(names), size=number):
            image = changed(image, names[index], magnitudes[names[index]], style, rng)
        return image

    return pixels.of_colour(change, images)


@TRANSFORMS.declare
class RandAugment(Policy):
    """PaddleClas's RandAugment: changes without a probability, turning counter-clockwise only.

    Attributes:
        num_layers: how many changes.
        magnitude: of all of them, in tenths of the largest.
        fillcolor: see `FillColour`; what turning brings in is grey in any case.
    """

    num_layers: Count = 2
    magnitude: NonNegative = 5.0
    fillcolor: FillColour = (128, 128, 128)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        magnitudes = _of_first(self.magnitude / 10)
        return _drawn(magnitudes, self.num_layers, Style(self.fillcolor), images)


@TRANSFORMS.declare
class RandAugmentV2(Policy):
    """EfficientNetV2's: with cutout and solarizing by addition, shifts in pixels, factors from 0.1 up.

    Attributes:
        num_layers: how many changes.
        magnitude: of all of them, in tenths of the largest; more than 10 is allowed.
        progress_magnitude: magnitudes instead, one for each of as many equal parts of the run.
        fillcolor: see `FillColour`; what turning brings in is grey in any case.
    """

    num_layers: Count = 2
    magnitude: NonNegative = 5.0
    progress_magnitude: Annotated[tuple[NonNegative, ...], Field(min_length=1)] | None = None
    fillcolor: FillColour = (128, 128, 128)

    def at(self, epoch: int, epochs: int) -> Transform:
        """The magnitude of this part of the run."""
        if self.progress_magnitude is None:
            return self
        magnitude = stage(self.progress_magnitude, epoch, epochs)
        return self.model_copy(update={"magnitude": magnitude, "progress_magnitude": None})

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        nearest = Image.Resampling.NEAREST
        style = Style(self.fillcolor, shear=nearest, in_pixels=True, both_ways=True, around_one=False)
        return _drawn(_of_second(self.magnitude / 10), self.num_layers, style, images)


@TRANSFORMS.declare
class RandAugmentV3(Policy):
    """MobileViTV2's: turning either way, posterizing and solarizing more with a larger magnitude.

    Attributes:
        num_layers: how many changes.
        magnitude: of all of them, in tenths of the largest.
        fillcolor: see `FillColour`.
        interpolation: of shears, shifts and turning: bilinear or bicubic.
    """

    num_layers: Count = 2
    magnitude: Annotated[NonNegative, Field(le=10)] = 3.0
    fillcolor: FillColour = (0, 0, 0)
    interpolation: Annotated[Literal["bilinear", "bicubic"], BeforeValidator(lower)] = "bicubic"

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        code, level = _RESAMPLING[self.interpolation], self.magnitude / 10
        style = Style(self.fillcolor, self.fillcolor, shear=code, shift=code, turn=code, both_ways=True)
        magnitudes = _of_first(level) | {"posterize": 8 - int(4 * level), "solarize": 255 * (1 - level)}
        return _drawn(magnitudes, self.num_layers, style, images)


def _of_first(level: float) -> dict[str, float]:
    """Magnitudes of `RandAugment`, for 1 the largest."""
    return {
        "shearX": 0.3 * level,
        "shearY": 0.3 * level,
        "translateX": 150 / 331 * level,
        "translateY": 150 / 331 * level,
        "rotate": 30 * level,
        "color": 0.9 * level,
        "posterize": int(4 * level),
        "solarize": 256 * level,
        "contrast": 0.9 * level,
        "sharpness": 0.9 * level,
        "brightness": 0.9 * level,
        "autocontrast": 0,
        "equalize": 0,
        "invert": 0,
    }


def _of_second(level: float) -> dict[str, float]:
    """Magnitudes of `RandAugmentV2`."""
    factor = 1.8 * level + 0.1
    return _of_first(level) | {
        "translateX": 100 * level,
        "translateY": 100 * level,
        "color": factor,
        "solarize": int(256 * level),
        "solarize_add": int(110 * level),
        "contrast": factor,
        "sharpness": factor,
        "brightness": factor,
        "cutout": int(40 * level),
    }

"""The changes that AutoAugment and PaddleClas's RandAugments choose from, by name and magnitude."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.pixels import Colour
from ppcls_compress.data.transforms.policies.base import either

_NEAREST = Image.Resampling.NEAREST
FillColour = Annotated[
    tuple[Annotated[int, Field(ge=0, le=255)], ...],
    Field(min_length=3, max_length=3),
    BeforeValidator(lambda value: (value,) * 3 if isinstance(value, int) else value),
]
"""Red, green and blue of what comes in from outside; one number for a grey."""


@dataclass(frozen=True)
class Style:
    """What the same names mean in one policy or another.

    Attributes:
        fill: of what shears, shifts and cutouts bring in.
        turn_fill: of what comes in from outside when the image is turned.
        shear: interpolation of shears.
        shift: of shifts.
        turn: of turning.
        in_pixels: shifts are in pixels, not in parts of the side.
        both_ways: images are turned either way, not only counter-clockwise.
        around_one: factors are one plus or minus the magnitude, not the magnitude.
    """

    fill: Colour
    turn_fill: Colour = (128, 128, 128)
    shear: Image.Resampling = Image.Resampling.BICUBIC
    shift: Image.Resampling = _NEAREST
    turn: Image.Resampling = _NEAREST
    in_pixels: bool = False
    both_ways: bool = False
    around_one: bool = True


Change = Callable[[np.ndarray, float, Style, np.random.Generator], np.ndarray]


def changed(image: np.ndarray, name: str, magnitude: float, style: Style, rng: np.random.Generator) -> np.ndarray:
    """An image uint8 [H, W, 3] after the named change."""
    return CHANGES[name](image, magnitude, style, rng)


def _shear(image: np.ndarray, across: float, down: float, style: Style) -> np.ndarray:
    return pixels.affine(image, (1, across, 0, down, 1, 0), style.shear, style.fill)


def _shift_x(image: np.ndarray, magnitude: float, style: Style, rng: np.random.Generator) -> np.ndarray:
    distance = either(magnitude if style.in_pixels else magnitude * image.shape[1], rng)
    return pixels.affine(image, (1, 0, distance, 0, 1, 0), style.shift, style.fill)


def _shift_y(image: np.ndarray, magnitude: float, style: Style, rng: np.random.Generator) -> np.ndarray:
    distance = either(magnitude if style.in_pixels else magnitude * image.shape[0], rng)
    return pixels.affine(image, (1, 0, 0, 0, 1, distance), style.shift, style.fill)


def _turn(image: np.ndarray, magnitude: float, style: Style, rng: np.random.Generator) -> np.ndarray:
    degrees = either(magnitude, rng) if style.both_ways else magnitude
    return pixels.rotate(image, degrees, style.turn, style.turn_fill)


def _enhancing(enhance: Callable[[np.ndarray, float], np.ndarray]) -> Change:
    def change(image: np.ndarray, magnitude: float, style: Style, rng: np.random.Generator) -> np.ndarray:
        return enhance(image, 1 + either(magnitude, rng) if style.around_one else magnitude)

    return change


CHANGES: Mapping[str, Change] = {
    "shearX": lambda image, magnitude, style, rng: _shear(image, either(magnitude, rng), 0, style),
    "shearY": lambda image, magnitude, style, rng: _shear(image, 0, either(magnitude, rng), style),
    "translateX": _shift_x,
    "translateY": _shift_y,
    "rotate": _turn,
    "color": _enhancing(pixels.colour),
    "posterize": lambda image, magnitude, style, rng: pixels.posterize(image, int(magnitude)),
    "solarize": lambda image, magnitude, style, rng: pixels.solarize(image, magnitude),
    "solarize_add": lambda image, magnitude, style, rng: pixels.solarize_add(image, int(magnitude)),
    "contrast": _enhancing(pixels.contrast),
    "sharpness": _enhancing(pixels.sharpness),
    "brightness": _enhancing(pixels.brightness),
    "autocontrast": lambda image, magnitude, style, rng: pixels.autocontrast(image),
    "equalize": lambda image, magnitude, style, rng: pixels.equalize(image),
    "invert": lambda image, magnitude, style, rng: pixels.invert(image),
    "cutout": lambda image, magnitude, style, rng: pixels.cutout(image, int(magnitude), style.fill[:1] * 3, rng),
}
"""Name to (image, magnitude, style, generator) -> image."""

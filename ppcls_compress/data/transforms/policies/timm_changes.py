"""The changes that timm's policies choose from, and what a magnitude from 0 to 10 is for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.pixels import Colour
from ppcls_compress.data.transforms.policies.base import either

MAX_LEVEL = 10.0


@dataclass(frozen=True)
class Settings:
    """What all changes of a policy share.

    Attributes:
        fill: of what comes in from outside.
        resampling: interpolations, of which each shear, shift or turn draws one.
        shift: largest shift, in parts of the side.
        deviation: of a magnitude from what the policy says.
    """

    fill: Colour
    resampling: tuple[Image.Resampling, ...]
    shift: float = 0.45
    deviation: float = 0.0


Argument = Callable[[float, Settings, np.random.Generator], float]
Apply = Callable[[np.ndarray, float, Settings, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Change:
    """A change: (magnitude, settings, generator) -> its argument, and (image, argument, ...) -> image."""

    argument: Argument
    apply: Apply


def applied(
    image: np.ndarray, name: str, probability: float, magnitude: float, settings: Settings, rng: np.random.Generator
) -> np.ndarray:
    """An image uint8 [H, W, 3] after the named change, which is made with a probability."""
    if probability < 1 and rng.random() >= probability:
        return image
    if settings.deviation > 0:
        magnitude = rng.normal(magnitude, settings.deviation)
    change = CHANGES[name]
    argument = change.argument(min(max(magnitude, 0.0), MAX_LEVEL) / MAX_LEVEL, settings, rng)
    return change.apply(image, argument, settings, rng)


def _moved(matrix: Callable[[float, np.ndarray], tuple[float, ...]]) -> Apply:
    def apply(image: np.ndarray, value: float, settings: Settings, rng: np.random.Generator) -> np.ndarray:
        return pixels.affine(image, matrix(value, image), _one_of(settings.resampling, rng), settings.fill)

    return apply


def _turned(image: np.ndarray, value: float, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    return pixels.rotate(image, value, _one_of(settings.resampling, rng), settings.fill)


def _one_of(codes: tuple[Image.Resampling, ...], rng: np.random.Generator) -> Image.Resampling:
    return codes[0] if len(codes) == 1 else codes[int(rng.integers(len(codes)))]


def _plain(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    return Change(lambda part, settings, rng: 0.0, lambda image, value, settings, rng: function(image))


def _pointwise(argument: Callable[[float], float], function: Callable[[np.ndarray, float], np.ndarray]) -> Change:
    return Change(
        lambda part, settings, rng: argument(part), lambda image, value, settings, rng: function(image, value)
    )


def _enhanced(function: Callable[[np.ndarray, float], np.ndarray]) -> tuple[Change, Change]:
    """By a factor of 0.1 to 1.9; by 1 plus or minus up to 0.9, so that a larger magnitude changes more."""
    return _pointwise(lambda part: 1.8 * part + 0.1, function), Change(
        lambda part, settings, rng: 1 + either(0.9 * part, rng),
        lambda image, value, settings, rng: function(image, value),
    )


_color, _color_increasing = _enhanced(pixels.colour)
_contrast, _contrast_increasing = _enhanced(pixels.contrast)
_brightness, _brightness_increasing = _enhanced(pixels.brightness)
_sharpness, _sharpness_increasing = _enhanced(pixels.sharpness)


def _signed(largest: float) -> Argument:
    return lambda part, settings, rng: either(part * largest, rng)


def _shift(part: float, settings: Settings, rng: np.random.Generator) -> float:
    return either(part * settings.shift, rng)


CHANGES: Mapping[str, Change] = {
    "AutoContrast": _plain(pixels.autocontrast),
    "Equalize": _plain(pixels.equalize),
    "Invert": _plain(pixels.invert),
    "Rotate": Change(_signed(30), _turned),
    "Posterize": _pointwise(lambda part: int(part * 4), pixels.posterize),
    "PosterizeIncreasing": _pointwise(lambda part: 4 - int(part * 4), pixels.posterize),
    "PosterizeOriginal": _pointwise(lambda part: 4 + int(part * 4), pixels.posterize),
    "Solarize": _pointwise(lambda part: int(part * 256), pixels.solarize),
    "SolarizeIncreasing": _pointwise(lambda part: 256 - int(part * 256), pixels.solarize),
    "SolarizeAdd": _pointwise(lambda part: int(part * 110), pixels.solarize_add),
    "Color": _color,
    "ColorIncreasing": _color_increasing,
    "Contrast": _contrast,
    "ContrastIncreasing": _contrast_increasing,
    "Brightness": _brightness,
    "BrightnessIncreasing": _brightness_increasing,
    "Sharpness": _sharpness,
    "SharpnessIncreasing": _sharpness_increasing,
    "ShearX": Change(_signed(0.3), _moved(lambda value, image: (1, value, 0, 0, 1, 0))),
    "ShearY": Change(_signed(0.3), _moved(lambda value, image: (1, 0, 0, value, 1, 0))),
    "TranslateXRel": Change(_shift, _moved(lambda value, image: (1, 0, value * image.shape[1], 0, 1, 0))),
    "TranslateYRel": Change(_shift, _moved(lambda value, image: (1, 0, 0, 0, 1, value * image.shape[0]))),
}

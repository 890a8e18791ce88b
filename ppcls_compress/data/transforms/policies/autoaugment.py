"""Policies of pairs of changes, each with a probability and a magnitude of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, Step
from ppcls_compress.data.transforms.policies.base import Policy
from ppcls_compress.data.transforms.policies.classic import FillColour, Style, changed

MAGNITUDES: Mapping[str, Sequence[float]] = {
    "shearX": np.linspace(0, 0.3, 10),
    "shearY": np.linspace(0, 0.3, 10),
    "translateX": np.linspace(0, 150 / 331, 10),
    "translateY": np.linspace(0, 150 / 331, 10),
    "rotate": np.linspace(0, 30, 10),
    "color": np.linspace(0, 0.9, 10),
    "posterize": np.round(np.linspace(8, 4, 10)),
    "solarize": np.linspace(256, 0, 10),
    "contrast": np.linspace(0, 0.9, 10),
    "sharpness": np.linspace(0, 0.9, 10),
    "brightness": np.linspace(0, 0.9, 10),
    "autocontrast": (0,) * 10,
    "equalize": (0,) * 10,
    "invert": (0,) * 10,
    "cutout": np.round(np.linspace(0, 20, 10)),
}
"""Of a change, by number: parts of the side for shears and shifts, degrees, distances from one, bits, thresholds."""

Change = tuple[float, str, int]
"""Probability, name, number of the magnitude."""

IMAGENET: tuple[tuple[Change, Change], ...] = (
    ((0.4, "posterize", 8), (0.6, "rotate", 9)),
    ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)),
    ((0.6, "posterize", 7), (0.6, "posterize", 6)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)),
    ((0.4, "equalize", 4), (0.8, "rotate", 8)),
    ((0.6, "solarize", 3), (0.6, "equalize", 7)),
    ((0.8, "posterize", 5), (1.0, "equalize", 2)),
    ((0.2, "rotate", 3), (0.6, "solarize", 8)),
    ((0.6, "equalize", 8), (0.4, "posterize", 6)),
    ((0.8, "rotate", 8), (0.4, "color", 0)),
    ((0.4, "rotate", 9), (0.6, "equalize", 2)),
    ((0.0, "equalize", 7), (0.8, "equalize", 8)),
    ((0.6, "invert", 4), (1.0, "equalize", 8)),
    ((0.6, "color", 4), (1.0, "contrast", 8)),
    ((0.8, "rotate", 8), (1.0, "color", 2)),
    ((0.8, "color", 8), (0.8, "solarize", 7)),
    ((0.4, "sharpness", 7), (0.6, "invert", 8)),
    ((0.6, "shearX", 5), (1.0, "equalize", 9)),
    ((0.4, "color", 0), (0.6, "equalize", 3)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)),
    ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.6, "invert", 4), (1.0, "equalize", 8)),
    ((0.6, "color", 4), (1.0, "contrast", 8)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)),
)
"""The policy for ImageNet of arXiv:1805.09501, table 9."""


@TRANSFORMS.declare
class AutoAugment(Policy):
    """AutoAugment's policy for ImageNet: one of 25 pairs of changes (arXiv:1805.09501, table 9).

    Attributes:
        fillcolor: see `FillColour`; what turning brings in is grey in any case.
    """

    fillcolor: FillColour = (128, 128, 128)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        style = Style(self.fillcolor)

        def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return _pair_applied(image, IMAGENET[int(rng.integers(len(IMAGENET)))], style, rng)

        return pixels.of_colour(change, images)


@TRANSFORMS.declare
class RandAugmentV4(Policy):
    """ML-Decoder's: two changes, each of any kind and any magnitude but the first of ten, made half the time."""

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        names, style = tuple(MAGNITUDES), Style((128, 128, 128))
        cut_out = Style((0, 0, 0))

        def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            drawn = [(names[rng.integers(len(names))], int(rng.integers(1, 10))) for _ in range(2)]
            for name, number in drawn:
                image = _applied(image, (0.5, name, number), cut_out if name == "cutout" else style, rng)
            return image

        return pixels.of_colour(change, images)


def _pair_applied(image: np.ndarray, changes: Sequence[Change], style: Style, rng: np.random.Generator) -> np.ndarray:
    for change in changes:
        image = _applied(image, change, style, rng)
    return image


def _applied(image: np.ndarray, change: Change, style: Style, rng: np.random.Generator) -> np.ndarray:
    probability, name, number = change
    return changed(image, name, MAGNITUDES[name][number], style, rng) if rng.random() < probability else image

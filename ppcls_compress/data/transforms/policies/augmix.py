"""AugMix: several chains of changes of an image, mixed with it (arXiv:1912.02781, algorithm 1)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, Step
from ppcls_compress.data.transforms.policies.base import Policy, either
from ppcls_compress.declare import Count, Fraction, Positive

_BLACK = (0, 0, 0)


@TRANSFORMS.declare
class AugMix(Policy):
    """Mixes some images with chains of changes of them, each of a random strength.

    Attributes:
        prob: of doing so.
        aug_prob_coeff: of the Dirichlet and the Beta distribution that the weights come from; little makes one win.
        mixture_width: how many chains.
        mixture_depth: changes in a chain; -1 draws 1 to 3.
        aug_severity: largest strength, in tenths; 0.1 is the smallest.
    """

    prob: Fraction = 0.5
    aug_prob_coeff: Positive = 0.1
    mixture_width: Count = 3
    mixture_depth: int = 1
    aug_severity: Annotated[Positive, Field(le=10)] = 1.0

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return self._mixed(image, rng) if rng.random() < self.prob else image

        return pixels.of_colour(change, images)

    def _mixed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        weights = np.float32(rng.dirichlet([self.aug_prob_coeff] * self.mixture_width))
        share = np.float32(rng.beta(self.aug_prob_coeff, self.aug_prob_coeff))
        mix = np.zeros(image.shape)
        for weight in weights:
            changed = image
            for _ in range(self.mixture_depth if self.mixture_depth > 0 else rng.integers(1, 4)):
                level = rng.uniform(0.1, self.aug_severity) / 10
                changed = _CHANGES[rng.integers(len(_CHANGES))](changed, level, rng)
            mix += weight * changed
        return np.clip((1 - share) * image + share * mix, 0, 255).astype(np.uint8)


def _moved(image: np.ndarray, *matrix: float) -> np.ndarray:
    return pixels.affine(image, matrix, Image.Resampling.BILINEAR, _BLACK)


def _turned(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return pixels.rotate(image, either(int(30 * level), rng), Image.Resampling.BILINEAR, _BLACK)


_CHANGES = (
    lambda image, level, rng: pixels.autocontrast(image),
    lambda image, level, rng: pixels.equalize(image),
    lambda image, level, rng: pixels.posterize(image, 4 - int(4 * level)),
    _turned,
    lambda image, level, rng: pixels.solarize(image, 256 - int(256 * level)),
    lambda image, level, rng: _moved(image, 1, either(0.3 * level, rng), 0, 0, 1, 0),
    lambda image, level, rng: _moved(image, 1, 0, 0, either(0.3 * level, rng), 1, 0),
    lambda image, level, rng: _moved(image, 1, 0, either(int(image.shape[1] / 3 * level), rng), 0, 1, 0),
    lambda image, level, rng: _moved(image, 1, 0, 0, 0, 1, either(int(image.shape[0] / 3 * level), rng)),
)
"""(image, strength from 0 to 1, generator) -> image."""

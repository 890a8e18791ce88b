"""Batch transforms that mix each image with another of the batch."""

from __future__ import annotations

import math
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, BatchStep, BatchTransform
from ppcls_compress.declare import NonNegative, Number, Positive


@BATCH_TRANSFORMS.declare
class MixupOperator(BatchTransform):
    """mixup: blends every image with another of the batch, weight ~ Beta(alpha, alpha) (arXiv:1710.09412, eq. 1)."""

    alpha: Annotated[Number, Field(gt=0)] = 1.0

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            partner = rng.permutation(len(images))
            weight = rng.beta(self.alpha, self.alpha)
            return blend_partners(images, partner, weight), blend(targets, targets[partner], weight)

        return step


@BATCH_TRANSFORMS.declare
class CutmixOperator(BatchTransform):
    """CutMix: pastes a box of another image, area 1 - Beta(alpha, alpha) (arXiv:1905.04899, section 3.1)."""

    alpha: Annotated[Number, Field(gt=0)] = 0.2

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            partner = rng.permutation(len(images))
            rows, columns = box(images.shape[2:], rng.beta(self.alpha, self.alpha), rng)
            images[:, :, rows, columns] = images[:, :, rows, columns][partner]
            kept = 1 - part(rows, columns, images.shape[2:])  # the box may be cut off by the border
            return images, blend(targets, targets[partner], kept)

        return step


@BATCH_TRANSFORMS.declare
class FmixOperator(BatchTransform):
    """FMix: takes from another image where a random picture of low frequencies is dark (arXiv:2002.12047, section 4).

    The picture has Gaussian amplitudes in all directions, as the paper has it; upstream's lie along the two axes.

    Attributes:
        alpha: the part that stays ~ Beta(alpha, alpha).
        decay_power: by which amplitudes fall with the frequency.
        max_soft: part of the pixels either side of the edge over which the two images are blended.
        reformulate: the part ~ Beta(alpha + 1, alpha).
    """

    alpha: Positive = 1.0
    decay_power: NonNegative = 3.0
    max_soft: Annotated[Number, Field(ge=0, le=0.5)] = 0.0
    reformulate: bool = False

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            partner = rng.permutation(len(images))
            kept = rng.beta(self.alpha + self.reformulate, self.alpha)
            mask = self._mask(images.shape[2:], kept, rng)
            return blend(images, images[partner], mask), blend(targets, targets[partner], kept)

        return step

    def _mask(self, shape: tuple[int, int], kept: float, rng: np.random.Generator) -> np.ndarray:
        """float32 [H, W] from 0 to 1, whose mean is `kept`."""
        brightest = np.argsort(_low_frequencies(shape, self.decay_power, rng), axis=None)[::-1]
        count = (math.ceil if rng.integers(2) else math.floor)(kept * brightest.size)
        soft = int(brightest.size * min(self.max_soft, kept, 1 - kept))
        low, high = max(count - soft, 0), min(count + soft, brightest.size)
        mask = np.zeros(brightest.size, np.float32)
        mask[brightest[:low]] = 1
        mask[brightest[low:high]] = np.linspace(1, 0, high - low)
        return mask.reshape(shape)


def _low_frequencies(shape: tuple[int, int], decay: float, rng: np.random.Generator) -> np.ndarray:
    """A random picture [H, W], each amplitude Gaussian and divided by its frequency to the power of `decay`."""
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    amplitudes = rng.standard_normal((2, *frequencies.shape)) / np.maximum(frequencies, 1 / max(shape)) ** decay
    return np.fft.irfft2(amplitudes[0] + 1j * amplitudes[1], shape)


def blend(first: np.ndarray, second: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """weight * first + (1 - weight) * second; both are overwritten."""
    first *= np.float32(weight)
    second *= np.float32(1 - weight)
    first += second
    return first


def blend_partners(images: np.ndarray, partner: np.ndarray, weight: float) -> np.ndarray:
    """weight * each + (1 - weight) * its partner, float32 [N, C, H, W], which are overwritten.

    It goes along the cycles of the permutation, so that one image is kept aside at a time and all else happens in the
    cache: an eighth of the time that whole batches take.
    """
    flat = images.reshape(len(images), -1, images.shape[-1])
    waiting = set(range(len(images)))
    while waiting:
        first = number = min(waiting)
        kept = flat[first].copy()
        while number in waiting:
            waiting.remove(number)
            following = int(partner[number])
            other = kept if following == first else flat[following]
            cv2.addWeighted(flat[number], weight, other, 1 - weight, 0, dst=flat[number])
            number = following
    return flat.reshape(images.shape)


def box(shape: tuple[int, int], kept: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box over 1 - `kept` of the area around a uniform centre, clipped to the image."""
    slices = []
    for length in shape:
        half, centre = int(length * np.sqrt(1 - kept)) // 2, int(rng.integers(length))
        slices.append(slice(max(centre - half, 0), min(centre + half, length)))
    return slices[0], slices[1]


def part(rows: slice, columns: slice, shape: tuple[int, int]) -> float:
    """The part of the area that a box has."""
    return (rows.stop - rows.start) * (columns.stop - columns.start) / (shape[0] * shape[1])

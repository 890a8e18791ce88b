"""Transforms of a whole batch: images are mixed, labels become rows of class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, BatchStep, BatchTransform
from ppcls_compress.declare import Number


class BatchPipeline:
    """Batch transforms in a row.

    A loss that is linear in its target, as cross-entropy is, gives on a mixed target the weighted sum of its values on
    the two targets.
    """

    def __init__(self, ops: Sequence[BatchTransform], class_num: int) -> None:
        self._steps = [op.step() for op in ops]
        self._class_num = class_num

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 [N, C, H, W] and labels int64 [N] to mixed images and targets float32 [N, class_num].

        Without any transform both are returned as they are. `images` may be overwritten.
        """
        if not self._steps:
            return images, labels
        targets = np.zeros((len(labels), self._class_num), np.float32)
        targets[np.arange(len(labels)), labels] = 1
        for step in self._steps:
            images, targets = step(images, targets, rng)
        return images, targets


def _blend(a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    return np.float32(weight) * a + np.float32(1 - weight) * b


@BATCH_TRANSFORMS.declare
class MixupOperator(BatchTransform):
    """mixup: blends every image with another of the batch, weight ~ Beta(alpha, alpha) (arXiv:1710.09412, eq. 1)."""

    alpha: Annotated[Number, Field(gt=0)] = 1.0

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            partner = rng.permutation(len(images))
            weight = rng.beta(self.alpha, self.alpha)
            return _blend(images, images[partner], weight), _blend(targets, targets[partner], weight)

        return step


@BATCH_TRANSFORMS.declare
class CutmixOperator(BatchTransform):
    """CutMix: pastes a box of another image, area 1 - Beta(alpha, alpha) (arXiv:1905.04899, section 3.1)."""

    alpha: Annotated[Number, Field(gt=0)] = 0.2

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            partner = rng.permutation(len(images))
            rows, columns = _box(images.shape[2:], rng.beta(self.alpha, self.alpha), rng)
            images[:, :, rows, columns] = images[partner][:, :, rows, columns]
            pasted = images[0, 0, rows, columns].size / images[0, 0].size  # the box may be cut off by the border
            return images, _blend(targets, targets[partner], 1 - pasted)

        return step


def _box(shape: tuple[int, int], kept: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box over 1 - `kept` of the area around a uniform centre, clipped to the image."""
    slices = []
    for length in shape:
        half, centre = int(length * np.sqrt(1 - kept)) // 2, int(rng.integers(length))
        slices.append(slice(max(centre - half, 0), min(centre + half, length)))
    return slices[0], slices[1]

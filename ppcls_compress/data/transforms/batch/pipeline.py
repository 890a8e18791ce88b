"""Transforms of a whole batch in a row: images are mixed, labels become rows of class probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, BatchTransform
from ppcls_compress.errors import ConfigError
from ppcls_compress.outputs import identities


class BatchPipeline:
    """Batch transforms in a row.

    A loss that is linear in its target, as cross-entropy is, gives on a mixed target the weighted sum of its values on
    the two targets.

    Raises:
        ConfigError: a transform does not fit the number of classes.
    """

    def __init__(self, ops: Sequence[BatchTransform], class_num: int) -> None:
        for op in ops:
            if (misfit := op.misfit(class_num)) is not None:
                raise ConfigError(f"{BATCH_TRANSFORMS.name_of(op)}.{misfit[0]}: {misfit[1]}")
        self._steps = [op.step() for op in ops]
        self._class_num = class_num

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 [N, C, H, W] and labels int64 [N] to mixed images and targets float32 [N, class_num].

        Of labels int64 [N, k] the identities are mixed, and cameras left out, as in PaddleClas. Labels that are
        float32, several for each image, are mixed as they are. Without any transform both are returned as they are.
        `images` may be overwritten.
        """
        if not self._steps:
            return images, labels
        targets = np.array(labels, np.float32)
        if np.issubdtype(labels.dtype, np.integer):
            targets = np.zeros((len(labels), self._class_num), np.float32)
            targets[np.arange(len(labels)), identities(labels)] = 1
        for step in self._steps:
            images, targets = step(images, targets, rng)
        return images, targets

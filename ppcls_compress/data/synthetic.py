"""Random batches for dry runs: the interface of `Loader` without files or workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import paddle

from ppcls_compress.data.datasets import Dataset
from ppcls_compress.data.samplers import batch_rng

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""A generator and a number of images to their labels."""


class SyntheticLoader:
    """`steps` batches of standard normal images and random labels; equal for equal seed, epoch and step."""

    def __init__(self, shape: Sequence[int], draw: Draw, batch_size: int, steps: int, seed: int) -> None:
        self._shape = (batch_size, *shape)
        self._draw = draw
        self._steps = steps
        self._seed = seed
        self._epoch = 0
        self._start = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._steps

    @property
    def samples(self) -> int:
        """Images per epoch."""
        return self._steps * self._shape[0]

    @property
    def bad_images(self) -> dict[str, str]:
        """Always empty."""
        return {}

    def set_epochs(self, epochs: int) -> None:
        """Nothing here changes with the length of a run."""

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose random draws the next iteration uses, and how many of its batches to leave out."""
        self._epoch, self._start = epoch, start

    def __iter__(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """(images float32 [N, C, H, W], labels as the data set has them)."""
        for step in range(self._start, self._steps):
            rng = batch_rng(self._seed, self._epoch, step, rank=0)
            images = rng.standard_normal(self._shape, np.float32)
            labels = self._draw(rng, self._shape[0])
            yield paddle.to_tensor(images), paddle.to_tensor(labels)


def synthetic_loader(
    shape: Sequence[int],
    class_num: int,
    batch_size: int,
    steps: int,
    seed: int = 0,
    dataset: Dataset | None = None,
) -> SyntheticLoader:
    """A loader of `steps` random batches of images of `shape` [C, H, W].

    Args:
        dataset: which labels are drawn like; None for uniform classes.
    """

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(class_num, size=count) if dataset is None else dataset.draw(rng, count, class_num)

    return SyntheticLoader(shape, draw, batch_size, steps, seed)

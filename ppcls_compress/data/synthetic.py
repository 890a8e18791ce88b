"""Random batches for dry runs: the interface of `Loader` without files or workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import paddle

from ppcls_compress.data.samplers import batch_rng


class SyntheticLoader:
    """`steps` batches of standard normal images and uniform labels; equal for equal seed, epoch and step."""

    def __init__(self, shape: Sequence[int], class_num: int, batch_size: int, steps: int, seed: int) -> None:
        self._shape = (batch_size, *shape)
        self._class_num = class_num
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

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose random draws the next iteration uses, and how many of its batches to leave out."""
        self._epoch, self._start = epoch, start

    def __iter__(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """(images float32 [N, C, H, W], labels int64 [N])."""
        for step in range(self._start, self._steps):
            rng = batch_rng(self._seed, self._epoch, step, rank=0)
            images = rng.standard_normal(self._shape, np.float32)
            labels = rng.integers(self._class_num, size=self._shape[0])
            yield paddle.to_tensor(images), paddle.to_tensor(labels)


def synthetic_loader(
    shape: Sequence[int], class_num: int, batch_size: int, steps: int, seed: int = 0
) -> SyntheticLoader:
    """A loader of `steps` random batches of images of `shape` [C, H, W]."""
    return SyntheticLoader(shape, class_num, batch_size, steps, seed)

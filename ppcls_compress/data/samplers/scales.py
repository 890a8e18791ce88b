"""Batches whose images have a size of their own, the smaller the more of them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchSampler, Sampler, order_rng, scale_rng
from ppcls_compress.declare import Count, PositiveInt


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


Scale = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_square)]
"""(width, height) in pixels; one number means a square."""


@SAMPLERS.declare
class MultiScaleSampler(Sampler):
    """Draws the size of each batch; a batch has about as many pixels as one of the first size (Mehta et al. 2021).

    Attributes:
        scales: sizes to draw from.
        first_bs: images of a batch of the first size.
        divided_factor: widths and heights are rounded down to its multiples.
        is_training: False makes all batches of the first size, as it is, and shuffles nothing.
    """

    scales: tuple[Scale, ...] = Field(min_length=1)
    first_bs: Count
    divided_factor: Count = 32
    is_training: bool = True

    @property
    def batch_size(self) -> int:
        """Images of a batch of the first size."""
        return self.first_bs

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank; see `ScaledBatches`."""
        return ScaledBatches(len(images), self, seed=seed, training=training, rank=rank, world_size=world_size)

    def choices(self) -> list[tuple[int, int, int]]:
        """(width, height, images of a batch) to draw from."""
        if not self.is_training:
            return [(*self.scales[0], self.first_bs)]
        width, height = self.scales[0]
        pixels, unit = width * height * self.first_bs, self.divided_factor
        rounded = [(max(w // unit, 1) * unit, max(h // unit, 1) * unit) for w, h in self.scales]
        return [(w, h, max(1, pixels // (w * h))) for w, h in rounded]


class ScaledBatches:
    """One rank's batches, the same sizes in each epoch and on each rank, so that all take equally many steps.

    For training the last batch is filled up with the first images of the epoch's order; in evaluation nothing is
    repeated.
    """

    def __init__(
        self, length: int, options: MultiScaleSampler, *, seed: int, training: bool, rank: int, world_size: int
    ) -> None:
        self._length = length
        self._options = options
        self._seed = seed
        self._training = training
        self._rank = rank
        self._world_size = world_size
        self._drawn = list(self._draw())

    def _draw(self) -> Any:
        choices, rng, left = self._options.choices(), scale_rng(self._seed), -(-self._length // self._world_size)
        while left > 0:
            width, height, count = choices[rng.integers(len(choices))]
            yield width, height, count
            left -= count

    @property
    def samples(self) -> int:
        """How many images this rank sees in an epoch."""
        if self._training:
            return sum(count for _, _, count in self._drawn)
        return len(range(self._rank, self._length, self._world_size))

    def __len__(self) -> int:
        """How many batches this rank sees in an epoch."""
        return len(self._drawn) if self._training else len(self.batches(0))

    def size(self, number: int) -> tuple[int, int]:
        """(width, height) of the images of a batch."""
        width, height, _ = self._drawn[number]
        return width, height

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The image indices of each batch of this rank."""
        order = np.arange(self._length)
        if self._options.is_training:
            order_rng(self._seed, epoch).shuffle(order)
        if self._training and self._length:
            order = np.resize(order, -(-self._length // self._world_size) * self._world_size)
        mine = order[self._rank :: self._world_size]
        if self._training:
            mine = np.resize(mine, self.samples)
        ends = np.cumsum([count for _, _, count in self._drawn])
        return [batch for batch in np.split(mine, ends[:-1]) if len(batch)]

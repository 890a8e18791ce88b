"""Repeated augmentation: several versions of an image are in an epoch, on different ranks where there are several."""

from __future__ import annotations

import numpy as np

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchedSampler, BatchSampler, order_rng
from ppcls_compress.declare import Count
from ppcls_compress.errors import UserError


@SAMPLERS.declare
class RASampler(BatchedSampler):
    """As many images an epoch as there are, but each of those that take part several times (Hoffer et al. 2020).

    Attributes:
        num_repeats: how often an image that takes part does.
        selected_round: the number of images of an epoch is the largest multiple of this.
    """

    shuffle: bool = False
    num_repeats: Count = 3
    selected_round: Count = 256

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank.

        Raises:
            UserError: there are fewer images than `selected_round`.
        """
        if len(images) < self.selected_round:
            raise UserError(
                f"RASampler: an epoch has a multiple of selected_round ({self.selected_round}) images, and there are "
                f"{len(images)}; set a smaller selected_round"
            )
        return Repeater(len(images), self, seed=seed, rank=rank, world_size=world_size)


class Repeater:
    """Repeats the order of an epoch image by image, and deals it out to the ranks."""

    def __init__(self, length: int, options: RASampler, *, seed: int, rank: int, world_size: int) -> None:
        self._length = length
        self._options = options
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

    @property
    def samples(self) -> int:
        """How many images this rank sees in an epoch, repeated ones counted each time."""
        share = self._length // self._options.selected_round * self._options.selected_round // self._world_size
        return share - share % self._options.batch_size if self._options.drop_last else share

    def __len__(self) -> int:
        """How many batches this rank sees in an epoch."""
        return -(-self.samples // self._options.batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The image indices of each batch of this rank."""
        order = np.arange(self._length)
        if self._options.shuffle:
            order_rng(self._seed, epoch).shuffle(order)
        order = np.repeat(order, self._options.num_repeats)
        order = np.resize(order, -(-len(order) // self._world_size) * self._world_size)
        mine = order[self._rank :: self._world_size][: self.samples]
        size = self._options.batch_size
        return [mine[start : start + size] for start in range(0, len(mine), size)]

"""Every image once an epoch, dealt out to the ranks."""

from __future__ import annotations

import numpy as np

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchedSampler, BatchSampler, order_rng


@SAMPLERS.declare
class DistributedBatchSampler(BatchedSampler):
    """Every image once an epoch, dealt out to the ranks."""

    shuffle: bool = False

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank; see `Dealer`."""
        return Dealer(len(images), self, seed=seed, training=training, rank=rank, world_size=world_size)


@SAMPLERS.register("BatchSampler")
class PlainBatchSampler(DistributedBatchSampler):
    """`DistributedBatchSampler` under Paddle's own name."""


class Dealer:
    """Deals the images out to the ranks and cuts each rank's share into batches.

    With W ranks, the k-th batches of all ranks together hold the same images as the k-th batch of one rank alone whose
    batches are W times as large.

    For training every rank takes the same number of steps: the first images of the epoch's order come again at its end
    until the ranks come out even. For evaluation nothing is repeated, so the last ranks may have one image less.
    """

    def __init__(
        self,
        length: int,
        options: DistributedBatchSampler,
        *,
        seed: int,
        training: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._length = length
        self._options = options
        self._seed = seed
        self._training = training
        self._rank = rank
        self._world_size = world_size

    @property
    def samples(self) -> int:
        """How many images this rank sees in an epoch."""
        share = self._share()
        return share - share % self._options.batch_size if self._options.drop_last else share

    def __len__(self) -> int:
        """How many batches this rank sees in an epoch."""
        return -(-self.samples // self._options.batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The image indices of each batch of this rank."""
        mine = self._order(epoch)[self._rank :: self._world_size][: self.samples]
        size = self._options.batch_size
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _order(self, epoch: int) -> np.ndarray:
        """The image indices that are dealt out, of all ranks."""
        order = self._shuffled(epoch)
        return np.resize(order, self._share() * self._world_size) if self._training and self._length else order

    def _shuffled(self, epoch: int) -> np.ndarray:
        order = np.arange(self._length)
        if self._options.shuffle:
            order_rng(self._seed, epoch).shuffle(order)
        return order

    def _share(self) -> int:
        """How many of them this rank gets."""
        spare_ranks = self._world_size - 1
        return (self._length + (spare_ranks if self._training else spare_ranks - self._rank)) // self._world_size

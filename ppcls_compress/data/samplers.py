"""Which images make up which batch, on which rank: a pure function of seed and epoch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.declare import Declarations, Options, PositiveInt

_ORDER, _SAMPLE, _BATCH = range(3)


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator that shuffles an epoch."""
    return np.random.default_rng((_ORDER, seed, epoch))


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one image's transforms: the same on every rank and in every worker."""
    return np.random.default_rng((_SAMPLE, seed, epoch, index))


def batch_rng(seed: int, epoch: int, number: int, rank: int) -> np.random.Generator:
    """The generator of one batch's transforms."""
    return np.random.default_rng((_BATCH, seed, epoch, number, rank))


class BatchSampler(Protocol):
    """One rank's batches of an epoch."""

    @property
    def samples(self) -> int:
        """How many images this rank sees in an epoch."""

    def __len__(self) -> int:
        """How many batches this rank sees in an epoch."""

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The image indices of each batch of this rank."""


class Sampler(Options):
    """`DataLoader.<split>.sampler`: `batch_size` images per process and step."""

    batch_size: PositiveInt
    drop_last: bool = False

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank.

        Args:
            seed: with the epoch it determines the order.
            training: every rank takes the same number of steps.
        """
        raise TypeError(f"{type(self).__name__} has no build of its own")


SAMPLERS: Declarations[Sampler] = Declarations("sampler")


@SAMPLERS.declare
class DistributedBatchSampler(Sampler):
    """Every image once an epoch, dealt out to the ranks."""

    shuffle: bool = False

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank; see `Dealer`."""
        return Dealer(len(images), self, seed=seed, training=training, rank=rank, world_size=world_size)


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
        order = np.arange(self._length)
        if self._options.shuffle:
            order_rng(self._seed, epoch).shuffle(order)
        if self._training and self._length:
            order = np.resize(order, self._share() * self._world_size)
        mine = order[self._rank :: self._world_size][: self.samples]
        size = self._options.batch_size
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _share(self) -> int:
        spare_ranks = self._world_size - 1
        return (self._length + (spare_ranks if self._training else spare_ranks - self._rank)) // self._world_size

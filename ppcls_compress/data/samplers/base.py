"""What every sampler has, the registry of samplers, and the generators that all randomness of data comes from."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.declare import Declarations, Options, PositiveInt

_ORDER, _SAMPLE, _BATCH, _IDENTITY, _SCALE = range(5)


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator that shuffles an epoch."""
    return np.random.default_rng((_ORDER, seed, epoch))


def sample_rng(seed: int, epoch: int, index: int, *version: int) -> np.random.Generator:
    """The generator of one image's transforms: the same on every rank and in every worker.

    Args:
        version: numbers that tell apart how often an image comes in an epoch.
    """
    return np.random.default_rng((_SAMPLE, seed, epoch, index, *version))


def batch_rng(seed: int, epoch: int, number: int, rank: int) -> np.random.Generator:
    """The generator of one batch's transforms."""
    return np.random.default_rng((_BATCH, seed, epoch, number, rank))


def identity_rng(seed: int, epoch: int, rank: int) -> np.random.Generator:
    """The generator that draws the identities of a rank's batches."""
    return np.random.default_rng((_IDENTITY, seed, epoch, rank))


def scale_rng(seed: int) -> np.random.Generator:
    """The generator that draws the sizes of batches."""
    return np.random.default_rng((_SCALE, seed))


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
    """`DataLoader.<split>.sampler`; `batch_size` is a number of images per process and step."""

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """The batches of one rank.

        Args:
            seed: with the epoch it determines the order.
            training: every rank takes the same number of steps.
        """
        raise TypeError(f"{type(self).__name__} has no build of its own")


class BatchedSampler(Sampler):
    """A sampler whose batches are all of one size, but for the last one, which `drop_last` leaves out."""

    batch_size: PositiveInt
    drop_last: bool = False


SAMPLERS: Declarations[Sampler] = Declarations("sampler")

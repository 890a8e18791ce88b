"""Batches of P identities with K images of each, for losses that compare the images of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchedSampler, BatchSampler, identity_rng
from ppcls_compress.declare import Count, NonNegative
from ppcls_compress.errors import UserError
from ppcls_compress.outputs import identities

Groups = list[np.ndarray]
"""The positions of the images of each identity."""


@dataclass(frozen=True)
class Drawn:
    """Batches that are drawn anew each epoch, as many in each.

    Attributes:
        draw: a generator of random numbers to one epoch's batches, of which there may be more.
        size: images in a batch.
        count: batches in an epoch.
    """

    draw: Callable[[np.random.Generator], Iterator[np.ndarray]]
    size: int
    count: int
    seed: int
    rank: int

    @property
    def samples(self) -> int:
        """How many images this rank sees in an epoch."""
        return self.size * self.count

    def __len__(self) -> int:
        """How many batches this rank sees in an epoch."""
        return self.count

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The image indices of each batch of this rank."""
        drawn = self.draw(identity_rng(self.seed, epoch, self.rank))
        return [next(drawn) for _ in range(self.count)]


def by_identity(own: np.ndarray) -> dict[int, np.ndarray]:
    """The positions of each identity in `own`, int64 [N], by identity in ascending order."""
    found, starts = np.unique(np.sort(own), return_index=True)
    members = np.split(np.argsort(own, kind="stable"), starts[1:])
    return dict(zip(found.tolist(), members, strict=True))


class _Instances(BatchedSampler):
    """What samplers have that take `num_instances` images of each identity."""

    num_instances: Count = 4

    @model_validator(mode="after")
    def _whole_groups(self) -> _Instances:
        if self.batch_size % self.num_instances:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of num_instances {self.num_instances}")
        return self

    @property
    def per_batch(self) -> int:
        """Identities in a batch."""
        return self.batch_size // self.num_instances


def require_identities(name: str, found: int, wanted: int) -> None:
    """Refuse a list with too few identities for one batch.

    Raises:
        UserError: says how many there are.
    """
    if found < wanted:
        raise UserError(
            f"{name}: a batch has {wanted} identities, and the list has {found}; set a smaller batch_size, or more "
            "images of each identity"
        )


@SAMPLERS.declare
class PKSampler(BatchedSampler):
    """Batches of batch_size / sample_per_id identities, drawn by their probability, and images drawn of each.

    Attributes:
        sample_per_id: images of an identity; drawn with replacement where it has fewer.
        sample_method: identities are drawn by their share of the images (`sample_avg_prob`) or alike (`id_avg_prob`).
        id_list: first and last identity of ranges, [first, last, first, last, ...], whose probability is multiplied.
        ratio: by how much, a number for each range.
        shuffle: as upstream has it; batches are always drawn.
    """

    drop_last: bool = True
    sample_per_id: Count
    sample_method: Literal["sample_avg_prob", "id_avg_prob"] = "sample_avg_prob"
    id_list: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    ratio: tuple[NonNegative, ...] | None = None
    shuffle: Literal[True] = True

    @model_validator(mode="after")
    def _fits(self) -> PKSampler:
        if self.batch_size % self.sample_per_id:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of sample_per_id {self.sample_per_id}")
        if len(self.id_list or ()) != 2 * len(self.ratio or ()):
            raise ValueError("id_list needs two identities for each number of ratio, the first and the last of a range")
        return self

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """Each rank draws its own; together as many batches as the images fill."""
        groups, wanted = by_identity(identities(images.labels)), self.batch_size // self.sample_per_id
        probabilities = self._probabilities(groups)
        require_identities("PKSampler", int((probabilities > 0).sum()), wanted)
        members = list(groups.values())

        def draw(rng: np.random.Generator) -> Iterator[np.ndarray]:
            while True:
                chosen = rng.choice(len(members), size=wanted, replace=False, p=probabilities)
                yield np.concatenate([_some(members[identity], self.sample_per_id, rng) for identity in chosen])

        share = -(-len(images) // world_size)
        count = share // self.batch_size if self.drop_last else -(-share // self.batch_size)
        return Drawn(draw, self.batch_size, count, seed, rank)

    def _probabilities(self, groups: dict[int, np.ndarray]) -> np.ndarray:
        alike = self.sample_method == "id_avg_prob"
        weights = np.array([1.0 if alike else len(members) for members in groups.values()])
        known = np.array(list(groups))
        for number, factor in enumerate(self.ratio or ()):
            first, last = self.id_list[2 * number : 2 * number + 2]
            weights[(known >= first) & (known <= last)] *= factor
        return weights / max(weights.sum(), 1e-12)


def _some(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(members, size=count, replace=len(members) < count)


@SAMPLERS.declare
class DistributedRandomIdentitySampler(_Instances):
    """Every image about once an epoch: those of an identity are shuffled and cut into groups of `num_instances`.

    A batch takes a group each of identities that have some left; the images that fill no group wait for another epoch.
    Each rank draws its own batches of all images.

    Attributes:
        max_iters: batches in an epoch, instead of as many as the groups fill.
        shuffle: as upstream has it; batches are always drawn.
    """

    max_iters: Count | None = None
    shuffle: Literal[True] = True

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """Batches of all images in each rank."""
        members, size = list(by_identity(identities(images.labels)).values()), self.num_instances
        require_identities(type(self).__name__, len(members), self.per_batch)
        total = sum(max(len(group) - len(group) % size, size) for group in members)
        count = self.max_iters or (total // self.batch_size if self.drop_last else -(-total // self.batch_size))

        def cut(group: np.ndarray, rng: np.random.Generator) -> Groups:
            own = rng.choice(group, size=size) if len(group) < size else rng.permutation(group)
            return list(own[: len(own) - len(own) % size].reshape(-1, size))

        return Drawn(lambda rng: _from_groups(members, self.per_batch, cut, rng), self.batch_size, count, seed, rank)


@SAMPLERS.declare
class NaiveIdentityBatchSampler(_Instances):
    """`DistributedRandomIdentitySampler` in which images of an identity come again to fill its last group."""

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """Batches of all images in each rank."""
        members, size = list(by_identity(identities(images.labels)).values()), self.num_instances
        require_identities(type(self).__name__, len(members), self.per_batch)
        total = sum(-(-len(group) // size) * size for group in members)
        count = max(total // self.batch_size - 1, 1)

        def draw(rng: np.random.Generator) -> Iterator[np.ndarray]:
            return _from_groups(members, self.per_batch, lambda group, rng: filled(group, size, rng), rng)

        return Drawn(draw, self.batch_size, count, seed, rank)


def filled(group: np.ndarray, size: int, rng: np.random.Generator) -> Groups:
    """The images of an identity, shuffled, in groups of `size`; some come again to fill the last."""
    if len(group) < size:
        own = rng.choice(group, size=size)
    else:
        again = rng.choice(group, size=-len(group) % size, replace=False)
        own = rng.permutation(np.concatenate([group, again]))
    return list(own.reshape(-1, size))


def _from_groups(
    members: Groups,
    per_batch: int,
    cut: Callable[[np.ndarray, np.random.Generator], Groups],
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Batches of a group each of `per_batch` identities, drawn from those that have one; over and over."""
    while True:
        left = [cut(group, rng) for group in members]
        while len(left) >= per_batch:
            yield take(left, per_batch, rng)


def take(left: list[Groups], count: int, rng: np.random.Generator) -> np.ndarray:
    """A group each of `count` identities, taken away from `left`; an identity goes with its last one."""
    chosen = rng.choice(len(left), size=count, replace=False)
    taken = np.concatenate([left[place].pop() for place in chosen])
    for place in sorted(chosen, reverse=True):
        if not left[place]:
            left[place] = left[-1]
            left.pop()
    return taken

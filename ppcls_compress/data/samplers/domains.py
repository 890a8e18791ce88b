"""Batches that have as many images of each domain, or camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import model_validator

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchedSampler, BatchSampler
from ppcls_compress.data.samplers.identities import Drawn, Groups, by_identity, filled, require_identities, take
from ppcls_compress.declare import Count
from ppcls_compress.errors import UserError


@SAMPLERS.declare
class DomainShuffleBatchSampler(BatchedSampler):
    """Batches with as many identities of each camera, and `num_instances` images of each (MetaBIN, Choi et al. 2021).

    An identity that several cameras saw counts as one for each.

    Attributes:
        camera_to_domain: a domain is a camera; the data sets here know no other.
    """

    num_instances: Count = 4
    camera_to_domain: bool = True

    @model_validator(mode="after")
    def _known_domains(self) -> DomainShuffleBatchSampler:
        if not self.camera_to_domain:
            raise ValueError("camera_to_domain False needs a data set of several domains, and there is none; use True")
        return self

    def build(
        self, images: LabelledImages, *, seed: int, training: bool, rank: int = 0, world_size: int = 1
    ) -> BatchSampler:
        """Batches of all images in each rank."""
        if images.labels.ndim != 2:
            raise UserError(
                "DomainShuffleBatchSampler: needs a data set that tells the camera of each image, such as Market1501"
            )
        domains = _domains(images.labels)
        per_domain = self.batch_size // self.num_instances // len(domains)
        if not per_domain:
            raise UserError(
                f"DomainShuffleBatchSampler: batch_size {self.batch_size} has no room for {self.num_instances} images "
                f"of {len(domains)} cameras"
            )
        for members in domains:
            require_identities("DomainShuffleBatchSampler", len(members), per_domain)
        size = per_domain * self.num_instances
        most = max(sum(-(-len(group) // self.num_instances) * self.num_instances for group in part) for part in domains)
        count = max(most // size - 1, 1)

        def draw(rng: np.random.Generator) -> Iterator[np.ndarray]:
            streams = [_of_domain(members, per_domain, self.num_instances, rng) for members in domains]
            while True:
                yield np.concatenate([next(stream) for stream in streams])

        return Drawn(draw, size * len(domains), count, seed, rank)


def _domains(labels: np.ndarray) -> list[Groups]:
    """For each camera, the positions of the images of each identity that it saw."""
    found = []
    for camera in np.unique(labels[:, 1]):
        seen = np.flatnonzero(labels[:, 1] == camera)
        found.append([seen[members] for members in by_identity(labels[seen, 0]).values()])
    return found


def _of_domain(members: Groups, count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Groups of `count` identities of a domain; all of its images come again when too few identities are left."""
    left: list[Groups] = []
    while True:
        if len(left) < count:
            left = [filled(group, size, rng) for group in members]
        yield take(left, count, rng)

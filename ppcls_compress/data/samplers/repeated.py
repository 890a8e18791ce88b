"""Repeated augmentation: several versions of an image are in an epoch, on different ranks where there are several."""

from __future__ import annotations

import numpy as np

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers.base import SAMPLERS, BatchedSampler, BatchSampler
from ppcls_compress.data.samplers.dealing import Dealer
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
        return Repeater(len(images), self, seed=seed, training=training, rank=rank, world_size=world_size)


class Repeater(Dealer):
    """Repeats the order of an epoch image by image, and deals it out to the ranks."""

    def _order(self, epoch: int) -> np.ndarray:
        order = np.repeat(self._shuffled(epoch), self._options.num_repeats)
        return np.resize(order, -(-len(order) // self._world_size) * self._world_size)

    def _share(self) -> int:
        return self._length // self._options.selected_round * self._options.selected_round // self._world_size

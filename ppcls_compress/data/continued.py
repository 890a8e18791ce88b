"""Epochs of another length than one pass over the images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import paddle

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.loader import Loader


class ContinuedLoader:
    """Epochs of `batches` batches: each goes on in the passes over the images where the one before it stopped.

    Args:
        loader: of whole passes, which transforms that change with the run take for epochs.
        epochs: such epochs of the whole run.
        lead: batches before those of the first epoch.
    """

    def __init__(self, loader: Loader, batches: int, *, epochs: int, lead: int = 0) -> None:
        loader.set_epochs(-(-(lead + epochs * batches) // len(loader)))
        self._loader = loader
        self._batches = batches
        self._lead = lead
        self._epoch = 0
        self._start = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._batches

    @property
    def samples(self) -> int:
        """Images per pass on this rank."""
        return self._loader.samples

    @property
    def of_one_size(self) -> bool:
        """As `Loader.of_one_size`."""
        return self._loader.of_one_size

    @property
    def images(self) -> LabelledImages:
        """Every image of the split."""
        return self._loader.images

    @property
    def bad_images(self) -> dict[str, str]:
        """As `Loader.bad_images`."""
        return self._loader.bad_images

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """As `Loader.set_epoch`."""
        self._epoch, self._start = epoch, start

    def __iter__(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """The batches, in order, from one pass after another.

        Raises:
            UserError: as `Loader`.
        """
        position = self._lead + self._epoch * self._batches + self._start
        yield from self._from(position, self._batches - self._start)

    def leading(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """The batches before those of the first epoch."""
        yield from self._from(0, self._lead)

    def _from(self, position: int, left: int) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        whole = len(self._loader)
        while left > 0:
            self._loader.set_epoch(position // whole, position % whole)
            count = min(left, whole - position % whole)
            yield from islice(self._loader, count)
            position, left = position + count, left - count

"""One batch from its number: images read, transformed and stacked; unreadable ones replaced or left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppcls_compress.data.datasets.multi_scale import at_size
from ppcls_compress.data.images import BadImageError, read_image
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers import BatchSampler, batch_rng, sample_rng
from ppcls_compress.data.samplers.repeated import Repeater
from ppcls_compress.data.samplers.scales import ScaledBatches
from ppcls_compress.data.transforms.batch import BatchPipeline
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.errors import UserError


@dataclass(frozen=True)
class Batch:
    """A prepared batch, of arrays or of tensors.

    Attributes:
        images: float32 [N, C, H, W]; None if every image was unreadable.
        labels: int64 [N], or float32: [N, class_num] of several labels each or from a batch transform, or
            [N, 2, class_num] with the shares of labels; None likewise.
        bad: the unreadable images that were met: path to reason.
    """

    images: Any
    labels: Any
    bad: dict[str, str]


class BatchMaker:
    """Makes the batches of an epoch, each from its number alone.

    In training an unreadable image is replaced by the next readable one of the list, so that every rank keeps its batch
    size; in evaluation it is left out, so that no image counts twice.

    Args:
        epochs: of the run, for transforms that change with them.
        label_key: the label that a transform gives and that counts instead of the list's.
    """

    def __init__(
        self,
        images: LabelledImages,
        sampler: BatchSampler,
        pipeline: Pipeline,
        batch_pipeline: BatchPipeline,
        *,
        seed: int,
        rank: int,
        training: bool,
        skip_bad_images: int,
        epochs: int = 1,
        label_key: str | None = None,
    ) -> None:
        self.images = images
        self.sampler = sampler
        self.skip_bad_images = skip_bad_images
        self._pipeline = pipeline
        self._epochs = epochs
        self._current: dict[tuple[int, int] | None, Pipeline] = {}
        self._current_epoch = 0
        self._label_key = label_key
        self._batch_pipeline = batch_pipeline
        self._seed = seed
        self._rank = rank
        self._training = training
        self._random = pipeline.is_random

    @property
    def progresses(self) -> bool:
        """Whether transforms change with the epochs, and sizes may do so too."""
        return self._pipeline.at(0, self._epochs).ops != self._pipeline.at(self._epochs - 1, self._epochs).ops

    def set_epochs(self, epochs: int) -> None:
        """Set of how many epochs the run is."""
        self._epochs, self._current = epochs, {}

    def make(self, epoch: int, number: int, indices: np.ndarray) -> Batch:
        """The batch of these images.

        Raises:
            UserError: an image is unreadable and none may be skipped, a transform cannot work on an image, or images
                come out in different sizes.
        """
        bad: dict[str, str] = {}
        stack: np.ndarray | None = None
        positions: list[int] = []
        drawn: list[int] = []
        pipeline = self._pipeline_of(epoch, number)
        copies: Counter[int] = Counter()
        for index in map(int, indices):
            out = None if stack is None else stack[len(positions)]
            rng = self._rng(epoch, number, index, copies[index]) if self._random else None
            copies[index] += 1
            found = self._load(pipeline, index, rng, bad, out)
            if found is None:
                continue
            position, image, labels = found
            if stack is None:
                stack = np.empty((len(indices), *image.shape), np.float32)
            if image.shape != stack.shape[1:]:
                raise UserError(_different_size(self.images.paths[position], image, stack))
            if not np.may_share_memory(image, stack):
                stack[len(positions)] = image
            positions.append(position)
            if self._label_key is not None:
                drawn.append(labels[self._label_key])
        if stack is None:
            return Batch(None, None, bad)
        labels = self.images.targets(positions) if self._label_key is None else np.array(drawn, np.int64)
        images, targets = self._batch_pipeline(
            stack[: len(positions)], labels, batch_rng(self._seed, epoch, number, self._rank)
        )
        return Batch(images, targets, bad)

    def _pipeline_of(self, epoch: int, number: int) -> Pipeline:
        """The transforms as they are in an epoch, at the size that the sampler has drawn for a batch."""
        size = self.sampler.size(number) if isinstance(self.sampler, ScaledBatches) else None
        if self._current_epoch != epoch:
            self._current_epoch, self._current = epoch, {}
        if size not in self._current:
            sized = self._pipeline if size is None else Pipeline(at_size(self._pipeline.ops, size))
            self._current[size] = sized.at(epoch, self._epochs)
        return self._current[size]

    def _read(self, position: int) -> bytes | np.ndarray:
        """An image, encoded as its file has it, or its pixels."""
        pixels = self.images.pixels
        return read_image(self.images.paths[position]) if pixels is None else pixels[position]

    def _rng(self, epoch: int, number: int, index: int, copy: int) -> np.random.Generator:
        """What draws for an image: each of several copies in an epoch comes out another way."""
        if copy or isinstance(self.sampler, Repeater):
            return sample_rng(self._seed, epoch, index, copy, number, self._rank)
        return sample_rng(self._seed, epoch, index)

    def _load(
        self,
        pipeline: Pipeline,
        index: int,
        rng: np.random.Generator | None,
        bad: dict[str, str],
        out: np.ndarray | None,
    ) -> tuple[int, np.ndarray, dict[str, int]] | None:
        """The position, the transformed image and what labels it got, of `index` or of what replaces it.

        Args:
            rng: None where nothing is drawn.
            out: where the image is to be, if it has that shape.
        """
        position = index
        while True:
            path = self.images.paths[position]
            try:
                box = self.images.box(position)
                return position, *pipeline.labelled(self._read(position), rng, box=box, out=out)
            except BadImageError as error:
                reason = str(error).removeprefix(f"{path}: ")
                if self.skip_bad_images == 0:
                    raise UserError(f"{path}: {reason}") from error
                bad[path] = reason
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
            position = (position + 1) % len(self.images)
            if not self._training or len(bad) > self.skip_bad_images or position == index:
                return None


def _different_size(path: str, image: np.ndarray, stack: np.ndarray) -> str:
    return (
        f"{path}: comes out of the transforms as {list(image.shape)}, the images before it as {list(stack.shape[1:])}; "
        "end transform_ops with a crop or a resize to one size"
    )

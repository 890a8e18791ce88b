"""Batches for training and evaluation, prepared by worker processes; the same batches whatever their number."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import paddle

from ppcls_compress.config.data import LoaderConfig, WorkerOptions
from ppcls_compress.data.batch import BatchPipeline
from ppcls_compress.data.decode import BadImageError, read_image
from ppcls_compress.data.labels import LabelledImages, read_labelled_images
from ppcls_compress.data.sampler import DistributedBatchSampler, batch_rng, sample_rng
from ppcls_compress.data.transforms import Pipeline
from ppcls_compress.errors import UserError

_NOTHING = np.zeros(1, np.float32)  # stands for "no batch" on the way from a worker, where arrays must not be empty


@dataclass
class Batch:
    """A prepared batch, of arrays or of tensors.

    Attributes:
        images: float32 [N, C, H, W]; None if every image was unreadable.
        labels: int64 [N], or float32 [N, class_num] from a batch transform; None likewise.
        bad: the unreadable images that were met: path to reason.
    """

    images: Any
    labels: Any
    bad: dict[str, str]


class BatchMaker:
    """Makes the batches of an epoch, each from its number alone.

    In training an unreadable image is replaced by the next readable one of the list, so that every rank keeps its batch
    size; in evaluation it is left out, so that no image counts twice.
    """

    def __init__(
        self,
        images: LabelledImages,
        sampler: DistributedBatchSampler,
        pipeline: Pipeline,
        batch_pipeline: BatchPipeline,
        *,
        seed: int,
        rank: int,
        training: bool,
        skip_bad_images: int,
    ) -> None:
        self.images = images
        self.sampler = sampler
        self.skip_bad_images = skip_bad_images
        self._pipeline = pipeline
        self._batch_pipeline = batch_pipeline
        self._seed = seed
        self._rank = rank
        self._training = training
        self._random = pipeline.is_random

    def make(self, epoch: int, number: int, indices: np.ndarray) -> Batch:
        """The batch of these images.

        Raises:
            UserError: an image is unreadable and none may be skipped, a transform cannot work on an image, or images
                come out in different sizes.
        """
        bad: dict[str, str] = {}
        stack: np.ndarray | None = None
        labels: list[int] = []
        for index in indices:
            found = self._load(epoch, int(index), bad)
            if found is None:
                continue
            position, image = found
            if stack is None:
                stack = np.empty((len(indices), *image.shape), np.float32)
            if image.shape != stack.shape[1:]:
                raise UserError(_different_size(self.images.paths[position], image, stack))
            stack[len(labels)] = image
            labels.append(self.images.labels[position])
        if stack is None:
            return Batch(None, None, bad)
        images, targets = self._batch_pipeline(
            stack[: len(labels)], np.array(labels, np.int64), batch_rng(self._seed, epoch, number, self._rank)
        )
        return Batch(images, targets, bad)

    def _load(self, epoch: int, index: int, bad: dict[str, str]) -> tuple[int, np.ndarray] | None:
        """The position and the transformed image, of `index` or of what replaces it."""
        rng = sample_rng(self._seed, epoch, index) if self._random else None
        position = index
        while True:
            path = self.images.paths[position]
            try:
                return position, self._pipeline(read_image(path), rng)
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


class Loader:
    """Iterates over the batches of one epoch; call `set_epoch` before each.

    Yields (images float32 [N, C, H, W], labels int64 [N] or float32 [N, class_num]) as Paddle tensors.
    """

    def __init__(self, maker: BatchMaker, workers: WorkerOptions) -> None:
        self._maker = maker
        self._workers = workers
        self._epoch = 0
        self._bad: dict[str, str] = {}

    def __len__(self) -> int:
        """Batches per epoch on this rank."""
        return len(self._maker.sampler)

    @property
    def samples(self) -> int:
        """Images per epoch on this rank."""
        return self._maker.sampler.samples

    @property
    def bad_images(self) -> dict[str, str]:
        """The unreadable images skipped so far on this rank: path to reason."""
        return dict(self._bad)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose order and random draws the next iteration uses."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """The batches, in order.

        Raises:
            UserError: as `BatchMaker.make`, or a worker process died.
        """
        work = _EpochWork(self._maker, self._epoch)
        batches = _in_workers(work, self._workers) if self._workers.num_workers else _in_process(work)
        for batch in batches:
            self._count(batch.bad)
            if batch.images is not None:
                yield batch.images, batch.labels

    def _count(self, bad: dict[str, str]) -> None:
        self._bad.update(bad)
        allowed = self._maker.skip_bad_images
        if len(self._bad) > allowed:
            path, reason = list(self._bad.items())[-1]
            raise UserError(
                f"{path}: {reason}; that is unreadable image {len(self._bad)}, skip_bad_images is {allowed}"
            )


class _EpochWork(paddle.io.Dataset):
    """An epoch's batches by number; in a worker process an error becomes part of the answer.

    Paddle's own transport of a worker's exception loses its type and prints a traceback.
    """

    def __init__(self, maker: BatchMaker, epoch: int) -> None:
        super().__init__()
        self._maker = maker
        self._epoch = epoch
        self._batches = maker.sampler.batches(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def make(self, number: int) -> Batch:
        return self._maker.make(self._epoch, number, self._batches[number])

    def __getitem__(self, number: int) -> list[Any]:
        try:
            batch = self.make(number)
        except UserError as error:
            return [_NOTHING, _NOTHING, {}, str(error), ""]
        except Exception as error:  # raised again in the parent
            return [_NOTHING, _NOTHING, {}, f"{type(error).__name__}: {error}", traceback.format_exc()]
        if batch.images is None:
            return [_NOTHING, _NOTHING, batch.bad, "", ""]
        return [batch.images, batch.labels, batch.bad, "", ""]


def _in_process(work: _EpochWork) -> Iterator[Batch]:
    for number in range(len(work)):
        batch = work.make(number)
        if batch.images is None:
            yield batch
        else:
            yield Batch(paddle.to_tensor(batch.images), paddle.to_tensor(batch.labels), batch.bad)


def _in_workers(work: _EpochWork, options: WorkerOptions) -> Iterator[Batch]:
    loader = paddle.io.DataLoader(
        work,
        batch_size=None,  # an item is a whole batch already
        collate_fn=_as_it_is,
        return_list=True,
        num_workers=min(options.num_workers, max(len(work), 1)),
        use_shared_memory=options.use_shared_memory,
        worker_init_fn=_one_thread,
    )
    with _inherited_garbage_kept(), dead_workers_told():
        batches = iter(loader)
    try:
        while (item := _next(batches)) is not None:
            images, labels, bad, error, trace = item
            if trace:
                failure = RuntimeError(f"a data worker failed: {error}")
                failure.add_note(trace)
                raise failure
            if error:
                raise UserError(error)
            empty = images.ndim == _NOTHING.ndim
            yield Batch(None, None, bad) if empty else Batch(images, labels, bad)
    finally:
        # Workers would otherwise outlive a loop that is left early: the reading thread keeps the iterator alive.
        batches._try_shutdown_all()


@contextmanager
def _inherited_garbage_kept() -> Iterator[None]:
    """Around the fork of workers: what is garbage now is never collected in them.

    An earlier iterator may be waiting in a reference cycle; its destructor joins threads, which a forked process does
    not have, so a worker whose garbage collector met it would hang.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _next(batches: Iterator[Any]) -> Any:
    with dead_workers_told():
        return next(batches, None)


@contextmanager
def dead_workers_told() -> Iterator[None]:
    """The death of a data worker, which Paddle reports as a SystemError, becomes a UserError.

    Paddle raises it from a signal handler, so while a loader is in use it can come up anywhere in the main thread.
    """
    try:
        yield
    except (SystemError, RuntimeError) as error:
        if "DataLoader process" not in str(error) and "Blocking queue" not in str(error):
            raise
        raise UserError(
            "a data worker process died, probably of too little memory; set a smaller loader.num_workers, or "
            "loader.use_shared_memory to False if /dev/shm is small"
        ) from error


def _as_it_is(item: Any) -> Any:
    return item


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # workers share the cores; and OpenCV's thread pool does not survive the fork


def build_loader(
    config: LoaderConfig,
    *,
    class_num: int,
    seed: int,
    training: bool,
    shard: bool = True,
    where: str | None = None,
) -> Loader:
    """The loader of one split.

    Args:
        class_num: labels must lie below it; the width of soft labels.
        seed: with epoch and image index it determines every random draw.
        training: ranks take equal numbers of steps, and an unreadable image is replaced; see
            `DistributedBatchSampler` and `BatchMaker`.
        shard: give each rank of the distributed environment its share; otherwise all of them see the same batches.
        where: the split's key, for messages; `DataLoader.Train` or `DataLoader.Eval` if left out.

    Raises:
        UserError: as `read_labelled_images`, or there are too few images for one training batch.
    """
    where = where or ("DataLoader.Train" if training else "DataLoader.Eval")
    images = read_labelled_images(config.dataset, class_num=class_num, where=f"{where}.dataset")
    rank, world_size = (paddle.distributed.get_rank(), paddle.distributed.get_world_size()) if shard else (0, 1)
    sampler = DistributedBatchSampler(
        len(images), config.sampler, seed=seed, training=training, rank=rank, world_size=world_size
    )
    if training and not len(sampler):
        raise UserError(
            f"{where}.sampler: {len(images)} images on {world_size} processes do not fill one batch of "
            f"{config.sampler.batch_size}; set a smaller batch_size, or drop_last to False"
        )
    maker = BatchMaker(
        images,
        sampler,
        Pipeline(config.dataset.transform_ops),
        BatchPipeline(config.dataset.batch_transform_ops, class_num),
        seed=seed,
        rank=rank,
        training=training,
        skip_bad_images=config.dataset.skip_bad_images,
    )
    return Loader(maker, config.loader)

"""The loader of one split: the same batches whatever the number of worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import paddle

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.maker import BatchMaker
from ppcls_compress.data.options import LoaderConfig, WorkerOptions
from ppcls_compress.data.samplers.scales import ScaledBatches
from ppcls_compress.data.transforms.batch import BatchPipeline
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.data.workers import EpochWork, in_process, in_workers
from ppcls_compress.errors import UserError


class Loader:
    """Iterates over the batches of one epoch; call `set_epoch` before each.

    Yields (images float32 [N, C, H, W], labels as `Batch` has them) as Paddle tensors.
    """

    def __init__(self, maker: BatchMaker, workers: WorkerOptions) -> None:
        self._maker = maker
        self._workers = workers
        self._epoch = 0
        self._start = 0
        self._bad: dict[str, str] = {}

    def __len__(self) -> int:
        """Batches per epoch on this rank."""
        return len(self._maker.sampler)

    @property
    def samples(self) -> int:
        """Images per epoch on this rank."""
        return self._maker.sampler.samples

    @property
    def images(self) -> LabelledImages:
        """Every image of the split, whatever this rank's share of them."""
        return self._maker.images

    @property
    def bad_images(self) -> dict[str, str]:
        """The unreadable images skipped so far on this rank: path to reason."""
        return dict(self._bad)

    @property
    def of_one_size(self) -> bool:
        """Whether all images come in the same size."""
        return not isinstance(self._maker.sampler, ScaledBatches) and not self._maker.progresses

    def set_epochs(self, epochs: int) -> None:
        """Set of how many epochs the run is, for transforms that change with them."""
        self._maker.set_epochs(epochs)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, counted from 0, whose order and random draws the next iteration uses.

        Args:
            start: batches of it that the next iteration leaves out.
        """
        self._epoch, self._start = epoch, start

    def __iter__(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """The batches, in order.

        Raises:
            UserError: as `BatchMaker.make`, or a worker process died.
        """
        work = EpochWork(self._maker, self._epoch, self._start)
        batches = in_workers(work, self._workers) if self._workers.num_workers else in_process(work)
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


def build_loader(
    config: LoaderConfig,
    *,
    class_num: int,
    seed: int,
    training: bool,
    shard: bool = True,
    where: str | None = None,
    epochs: int = 1,
) -> Loader:
    """The loader of one split.

    Args:
        class_num: labels must lie below it; the width of soft labels.
        seed: with epoch and image index it determines every random draw.
        training: ranks take equal numbers of steps, and an unreadable image is replaced; see `Sampler.build` and
            `BatchMaker`.
        shard: give each rank of the distributed environment its share; otherwise all of them see the same batches.
        where: the split's key, for messages; `DataLoader.Train` or `DataLoader.Eval` if left out.
        epochs: of the run, for transforms that change with them.

    Raises:
        UserError: as `Dataset.read`, or there are too few images for one batch.
    """
    where = where or ("DataLoader.Train" if training else "DataLoader.Eval")
    images = config.dataset.read(class_num=class_num, where=f"{where}.dataset")
    rank, world_size = (paddle.distributed.get_rank(), paddle.distributed.get_world_size()) if shard else (0, 1)
    sampler = config.sampler.build(images, seed=seed, training=training, rank=rank, world_size=world_size)
    # The first rank has the largest share: in evaluation others may have no image, but not all of them.
    first = config.sampler.build(images, seed=seed, training=training, world_size=world_size)
    if not len(first):
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
        epochs=epochs,
        label_key=config.dataset.label_of_transform,
    )
    return Loader(maker, config.loader)

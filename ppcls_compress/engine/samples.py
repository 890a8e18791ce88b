"""Still images: prepared without augmentation, the same whenever they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, build_loader
from ppcls_compress.data.datasets import Dataset
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.data.samplers import DistributedBatchSampler
from ppcls_compress.data.transforms import Transform
from ppcls_compress.engine.judging import classes_of
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import ConfigError, UserError


@dataclass(frozen=True, eq=False)
class Samples:
    """Some images of a data set, or random ones.

    Attributes:
        images: float32 [N, C, H, W].
        labels: int64 [N]; None for random images.
        source: what they are: `images of DataLoader.Eval`.
    """

    images: np.ndarray
    labels: np.ndarray | None
    source: str

    @property
    def batches(self) -> list[np.ndarray]:
        """The images in batches of 8, [8, C, H, W]; the last one may be smaller."""
        return np.split(self.images, range(_BATCH, len(self.images), _BATCH))

    def of_size(self, height: int, width: int) -> Samples:
        """The same, resized where they are of another size, for what takes no other."""
        if self.images.shape[2:] == (height, width):
            return self
        resized = [
            paddle.nn.functional.interpolate(paddle.to_tensor(batch), [height, width], mode="bilinear").numpy()
            for batch in self.batches
        ]
        return Samples(np.concatenate(resized), self.labels, f"{self.source}, resized to {height} x {width}")

    def __str__(self) -> str:
        return f"{len(self.images)} {self.source}"


_BATCH = 8


def from_split(config: Config, modes: Sequence[str], count: int) -> Samples | None:
    """`count` images, or as many as there are, of the first of some splits whose files exist; None if none does.

    They are drawn from all over the list, by `Global.seed` alone. Training images are prepared as `DataLoader.Eval`
    or `Infer` say, so that nothing is augmented.

    Args:
        modes: names of splits, `Train` or `Eval`.

    Raises:
        UserError: an image or the list cannot be read.
    """
    for mode in modes:
        options = getattr(config.DataLoader, mode)
        if options is None or _faces(config, mode) or not _is_there(options.dataset, mode):
            continue
        ops, how = _still(config, mode)
        return _drawn(config, options, ops, count, where=f"DataLoader.{mode}", how=how)
    return None


def _is_there(dataset: Dataset, mode: str) -> bool:
    try:
        dataset.check_paths(f"DataLoader.{mode}.dataset")
    except ConfigError:
        return False
    return True


def still_batches(config: Config, count: int) -> Iterator[paddle.Tensor]:
    """`count` batches of `DataLoader.Train`, or as many as there are, prepared without augmentation, with progress.

    They are drawn from all over the list, by `Global.seed` alone, the same in every process.

    Raises:
        UserError: an image or the list cannot be read.
    """
    options = config.DataLoader.Train
    ops, how = _still(config, "Train")
    loader = _loader(config, options, ops, options.sampler.batch_size, where="DataLoader.Train")
    total = min(count, len(loader))
    images = min(total * options.sampler.batch_size, len(loader.images))
    logger.info("calibrating on %d images of DataLoader.Train%s", images, how)
    taken = itertools.islice(loader, total)
    yield from (batch for batch, _ in track(taken, "calibrating", total))


def random(config: Config, count: int) -> Samples:
    """`count` images of standard normal noise."""
    rng = np.random.default_rng(config.Global.seed)
    images = rng.standard_normal((count, *config.Global.image_shape), np.float32)
    return Samples(images, None, "random images")


def _still(config: Config, mode: str) -> tuple[Sequence[Transform], str]:
    """The transforms that prepare images of a split without augmentation, and a remark on them."""
    if mode == "Eval":
        return config.DataLoader.Eval.dataset.transform_ops, ""
    if config.DataLoader.Eval is not None and not _faces(config, "Eval"):
        return config.DataLoader.Eval.dataset.transform_ops, ", prepared as DataLoader.Eval says"
    if config.Infer is not None and config.Infer.transforms:
        return config.Infer.transforms, ", prepared as Infer.transforms says"
    return config.DataLoader.Train.dataset.transform_ops, ", augmented as DataLoader.Train says"


def _faces(config: Config, mode: str) -> bool:
    """Whether a split holds pairs of prepared faces, and no image files."""
    return mode == "Eval" and config.Global.eval_mode == "adaface"


def _loader(config: Config, options: LoaderConfig, ops: Sequence[Transform], size: int, *, where: str) -> Loader:
    """Batches of images drawn from all over a split, prepared by other transforms than its own."""
    dataset = options.dataset.model_copy(update={"transform_ops": tuple(ops), "batch_transform_ops": ()})
    # Not validated again: what is a part of a data set has no name of its own.
    sampler = DistributedBatchSampler(batch_size=size, shuffle=True)
    drawn = LoaderConfig.model_construct(dataset=dataset, sampler=sampler, loader=options.loader)
    return build_loader(
        drawn,
        class_num=classes_of(config, where.rpartition(".")[2]),
        seed=config.Global.seed,
        training=False,
        shard=False,
        where=where,
    )


def _drawn(
    config: Config, options: LoaderConfig, ops: Sequence[Transform], count: int, *, where: str, how: str
) -> Samples:
    size = min(options.sampler.batch_size, count)
    loader = _loader(config, options, ops, size, where=where)
    total = min(-(-count // size), len(loader))
    taken = track(itertools.islice(loader, total), f"reading images of {where}", total)
    found = [(images.numpy(), labels.numpy()) for images, labels in taken]
    if not found:
        raise UserError(f"{where}: none of its images can be read")
    images, labels = (np.concatenate(parts)[:count] for parts in zip(*found, strict=True))
    return Samples(images, labels, f"images of {where}{how}")

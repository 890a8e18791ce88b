"""The loaders of a configured run."""

from __future__ import annotations

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, build_loader
from ppcls_compress.data.continued import ContinuedLoader
from ppcls_compress.engine.modes import mode_of
from ppcls_compress.errors import UserError


def training_loader(config: Config, *, shard: bool = True) -> Loader:
    """The loader of `DataLoader.Train`: this process' share of it, or all of it."""
    return split_loader(config, "Train", shard=shard)


def training_epochs(config: Config) -> Loader | ContinuedLoader:
    """The same in epochs as they are configured, after what the steps before the first one take."""
    loader, batches, lead = training_loader(config), config.Global.iter_per_epoch, mode_of(config).lead(config)
    if batches is None and not lead:
        return loader
    return ContinuedLoader(loader, batches or len(loader), epochs=config.Global.epochs, lead=lead)


def metalearning_loader(config: Config) -> Loader:
    """The loader of `DataLoader.Metalearning`, which draws other augmentations of an image than `DataLoader.Train`.

    Raises:
        UserError: all images are of one camera.
    """
    where, split = "DataLoader.Metalearning.Train", config.DataLoader.Metalearning.Train
    # Looked at before the sampler does, which would speak of its own needs.
    images = split.dataset.read(class_num=config.Arch.class_num, where=f"{where}.dataset")
    found = np.unique(images.labels[:, 1])
    if len(found) < 2:
        raise UserError(
            f"{where}.dataset: all {len(images)} images are of camera {found[0]}, and MetaBIN learns from some cameras "
            "for others; give images of two at least"
        )
    return build_loader(
        split,
        class_num=config.Arch.class_num,
        seed=(config.Global.seed + _OTHER_DRAWS) % 2**32,
        training=True,
        where=where,
        epochs=config.Global.epochs,
    )


_OTHER_DRAWS = 1_000_003
"""What is added to the seed: far from seeds that people give to runs which they compare."""


def split_loader(config: Config, mode: str, *, shard: bool = True) -> Loader:
    """The loader of `DataLoader.Train` or `DataLoader.Eval`."""
    return build_loader(
        getattr(config.DataLoader, mode),
        class_num=config.Arch.class_num,
        seed=config.Global.seed,
        training=mode == "Train",
        shard=shard,
        epochs=config.Global.epochs,
    )

"""Validation images in two parts: the search sees one, the other decides at the end."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import Any

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.config.train_modes import splits
from ppcls_compress.data.datasets import Dataset
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers import DistributedBatchSampler
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError


class Part(Dataset):
    """Some images of another data set.

    Attributes:
        whole: that one.
        positions: which of its images, in this order.
    """

    whole: Any
    positions: tuple[int, ...]

    def check_paths(self, where: str) -> None:
        """Of the whole."""
        self.whole.check_paths(where)

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The images of the part."""
        images, taken = self.whole.read(class_num=class_num, where=where), np.asarray(self.positions)
        arrays = {key: getattr(images, key) for key in ("boxes", "pixels")}
        return replace(
            images,
            paths=[images.paths[position] for position in self.positions] if images.paths else images.paths,
            labels=images.labels[taken],
            **{key: None if array is None else array[taken] for key, array in arrays.items()},
        )


def halves(config: Config) -> tuple[Config, Config]:
    """The configuration with `DataLoader.Eval` as the search sees it, and as the decision does.

    Raises:
        ConfigError: there are no such images, or the data set has no label file that another could stand for.
        UserError: the lists cannot be read.
    """
    auto, evaluated = config.Slim.auto, config.DataLoader.Eval
    if auto.decide is not None:
        if "cls_label_path" not in type(evaluated.dataset).model_fields:
            raise ConfigError("Slim.auto.decide: the data set of DataLoader.Eval has no cls_label_path")
        check_path("Slim.auto.decide", auto.decide, "any")
        other = evaluated.dataset.model_copy(update={"cls_label_path": auto.decide})
        other.check_paths("Slim.auto.decide")
        return _with(config, evaluated.dataset), _with(config, _part(other, _once(config, other, "Slim.auto.decide")))
    once = _once(config, evaluated.dataset, "DataLoader.Eval.dataset")
    if len(once) < 2:
        raise ConfigError("DataLoader.Eval: has a single image, and a half of them decides at the end")
    order = np.random.default_rng(seed_of(config)).permutation(len(once))
    parts = (np.sort(once[part]) for part in (order[: len(once) // 2], order[len(once) // 2 :]))
    return tuple(_with(config, _part(evaluated.dataset, part)) for part in parts)


def _once(config: Config, dataset: Dataset, where: str) -> np.ndarray:
    """The positions of a data set's images, int64 [N]; an image that is listed twice tells no more than once."""
    images = dataset.read(class_num=config.Arch.class_num, where=where)
    first: dict[str | int, int] = {}
    for position, name in enumerate(_names(images) or range(len(images))):
        first.setdefault(name, position)
    return np.array(list(first.values()))


def check_apart(seen: Config, kept: Config) -> None:
    """Refuse images that decide and that the search trains on, or chooses by.

    Args:
        seen: with the images that the search sees, see `halves`.
        kept: with those that decide.

    Raises:
        ConfigError: names one of them, and how many there are.
        UserError: the lists cannot be read.
    """
    deciding = _paths(kept, "Eval")
    key = "DataLoader.Eval" if kept.Slim.auto.decide is None else "Slim.auto.decide"
    for mode in (*splits(seen), "Eval"):
        if common := sorted(deciding & _paths(seen, mode)):
            raise ConfigError(
                f"{key}: {len(common)} of the {len(deciding)} images that decide are in DataLoader.{mode} too, such as "
                f"{common[0]}; what decides must not have been seen"
            )


def digests(seen: Config, kept: Config) -> dict[str, str]:
    """What a search trains on, chooses by and decides by, so that a list that is written anew makes another search.

    Args:
        seen: with the images that the search sees, see `halves`.
        kept: with those that decide.
    """
    trained = [_digest(seen, mode) for mode in splits(seen)]
    return {
        "training images": " ".join(trained),
        "images to choose by": _digest(seen, "Eval"),
        "deciding images": _digest(kept, "Eval"),
    }


def _digest(config: Config, mode: str) -> str:
    """Of names and labels in their order, not of what the files hold; of pixels where these are in no files."""
    images = _read(config, mode)
    found = hashlib.sha256("\n".join(_names(images)).encode(errors="surrogateescape"))
    for array in (images.labels, images.boxes, images.pixels):
        found.update(b"" if array is None else np.ascontiguousarray(array))
    return found.hexdigest()[:16]


def _read(config: Config, mode: str) -> LabelledImages:
    dataset = getattr(config.DataLoader, mode).dataset
    return dataset.read(class_num=config.Arch.class_num, where=f"DataLoader.{mode}")


def _paths(config: Config, mode: str) -> set[str]:
    return set(_names(_read(config, mode)))


def _names(images: LabelledImages) -> list[str]:
    """The paths of images, each written in one way; none of what lies in no files of its own."""
    return [os.path.normpath(path) for path in images.paths or ()]


def seed_of(config: Config) -> int:
    """`Slim.auto.seed`, or that of the whole run."""
    return config.Global.seed if config.Slim.auto.seed is None else config.Slim.auto.seed


def _part(whole: Dataset, positions: np.ndarray) -> Part:
    shared = {key: getattr(whole, key) for key in Dataset.model_fields}
    return Part(whole=whole, positions=tuple(positions.tolist()), **shared)


def _with(config: Config, dataset: Dataset) -> Config:
    """The configuration with these validation images, each once and in their order."""
    size = config.DataLoader.Eval.sampler.batch_size
    sampler = DistributedBatchSampler(batch_size=size, shuffle=False, drop_last=False)
    evaluated = config.DataLoader.Eval.model_copy(update={"dataset": dataset, "sampler": sampler})
    return config.model_copy(update={"DataLoader": config.DataLoader.model_copy(update={"Eval": evaluated})})

"""Doubts about lists of images: labels that contradict each other, images on both sides, images that are left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.options import QueryGallery
from ppcls_compress.errors import ConfigError


def check_numbering(train: LabelledImages, evaluated: LabelledImages) -> None:
    """Refuse two lists that `relabel` numbers differently: a class would be one thing in training, another in a score.

    Raises:
        ConfigError: names the first label.
    """
    if train.labels.ndim > 1 or evaluated.labels.ndim > 1:
        return
    expected = dict(zip(*_originals(train), strict=True))
    for label, found in zip(*_originals(evaluated), strict=True):
        if expected.get(label, found) != found:
            raise ConfigError(
                f"DataLoader.Eval.dataset.relabel: class {label} is label {found} of DataLoader.Eval and label "
                f"{expected[label]} of DataLoader.Train; relabel numbers the labels of each list by itself, so both "
                "must have the same labels, or write them from 0 in both lists"
            )


def _originals(images: LabelledImages) -> tuple[list[int], list[int]]:
    """The classes that occur, and what their list calls them."""
    used = np.unique(images.labels)
    return used.tolist(), (used if images.numbering is None else images.numbering[used]).tolist()


def about_training(config: Config, train: LabelledImages, evaluated: LabelledImages | None) -> Iterator[str]:
    """Training images: their labels, their order, and whether they are validation images too."""
    first: dict[str, int] = {}
    labelled = zip(train.paths, train.labels.tolist(), strict=True)
    torn = [path for path, label in labelled if first.setdefault(path, label) != label]
    if torn:
        yield f"DataLoader.Train: {len(torn)} lines give an image another label than an earlier line, for one {torn[0]}"
    if evaluated is not None:
        both = [path for path in evaluated.paths if path in first]
        if both:
            yield (
                f"DataLoader.Eval: {len(both)} of {len(evaluated)} images are in DataLoader.Train too, for one "
                f"{both[0]}; the score will be too good"
            )
    shuffled = getattr(config.DataLoader.Train.sampler, "shuffle", True)
    one_class = train.labels.ndim == 1
    if not shuffled and one_class and len(np.unique(train.labels)) > 1 and (np.diff(train.labels) >= 0).all():
        yield (
            "DataLoader.Train.sampler.shuffle: is False, and the list goes class by class, so nearly every batch has "
            "images of one class only"
        )


def about_evaluation(config: Config, evaluated: LabelledImages) -> Iterator[str]:
    """Validation images that no score counts, and queries that find themselves."""
    sampler = config.DataLoader.Eval.sampler
    spare = len(evaluated) % sampler.batch_size if getattr(sampler, "drop_last", False) else 0
    if spare:
        yield f"DataLoader.Eval.sampler.drop_last: leaves {spare} of {len(evaluated)} images out of every score"
    if isinstance(config.DataLoader.Eval, QueryGallery) and evaluated.labels.ndim == 1:
        yield from _about_itself(config.DataLoader.Eval)


def _about_itself(split: QueryGallery) -> Iterator[str]:
    """Queries that are in the gallery themselves; where cameras are known, what the same one saw does not count."""
    parts = (split.dataset, split.gallery.dataset)
    query, gallery = ({key: getattr(part, key) for key in part.paths} for part in parts)
    if query == gallery:
        yield (
            "DataLoader.Eval: queries and gallery are the same images, and no cameras are known: each finds itself "
            "first, as in PaddleClas, and recall1 is 100% whatever the network is; give the gallery another list"
        )

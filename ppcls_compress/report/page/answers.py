"""What exported classifiers say of the same labelled images, and where they differ."""

from __future__ import annotations

import base64
import io as memory
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.data import build_loader
from ppcls_compress.data.images.files import read_image
from ppcls_compress.data.images.header import open_image
from ppcls_compress.data.images.pixels import rgb
from ppcls_compress.data.samplers import DistributedBatchSampler
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine.evaluate import tell_skipped
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import ConfigError, UserError

_PICTURE = 72  # pixels of the longer side


@dataclass(frozen=True, eq=False)
class Answers:
    """The class that each model gives of each image.

    Attributes:
        paths: of the images.
        labels: int64 [N].
        given: int64 [N] by the model's name.
        classes: how many there are.
    """

    paths: Sequence[str]
    labels: np.ndarray
    given: Mapping[str, np.ndarray]
    classes: int

    def top1(self, name: str) -> float:
        """The share of images that a model answers rightly."""
        return float((self.given[name] == self.labels).mean())

    def confusion(self, name: str) -> np.ndarray:
        """How many images of each class (rows) were taken for which (columns), int64 [classes, classes]."""
        pairs = self.labels * self.classes + self.given[name]
        return np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    @property
    def counts(self) -> np.ndarray:
        """How many images each class has, int64 [classes]."""
        return np.bincount(self.labels, minlength=self.classes)

    def per_class(self, name: str) -> np.ndarray:
        """The share of each class's images that are answered rightly, [classes]; not a number without images."""
        right = np.bincount(self.labels[self.labels == self.given[name]], minlength=self.classes)
        with np.errstate(invalid="ignore"):
            return right / self.counts

    def changed(self, first: str, other: str) -> np.ndarray:
        """The positions of images that two models answer differently; those that one loses come first."""
        before, after = self.given[first], self.given[other]
        positions = np.flatnonzero(before != after)
        rank = np.where(before[positions] == self.labels[positions], 0, 1)
        rank = np.where(after[positions] == self.labels[positions], 2, rank)
        return positions[np.argsort(rank, kind="stable")]


def ask(config: Config, predictors: Mapping[str, Predictor]) -> Answers:
    """Have models classify the images of `DataLoader.Eval`, each once and in the order of their list.

    Raises:
        ConfigError: the images have no classes, or several labels each.
        UserError: an image cannot be read, there are none, or a model gives another number of classes.
    """
    if config.Global.eval_mode != "classification" or config.Global.use_multilabel:
        raise ConfigError("--page: shows classes, one for each image; Global.eval_mode or use_multilabel is otherwise")
    evaluated = config.DataLoader.Eval
    in_order = DistributedBatchSampler(batch_size=evaluated.sampler.batch_size, shuffle=False, drop_last=False)
    loader = build_loader(
        evaluated.model_copy(update={"sampler": in_order}), class_num=config.Arch.class_num, seed=0, training=False
    )
    labels, given = [], {name: [] for name in predictors}
    for images, target in track(loader, "classifying"):
        labels.append(target.numpy())
        for name, predictor in predictors.items():
            try:
                scores = predictor.run(images.numpy())
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
            if scores.shape[1] != config.Arch.class_num:
                raise UserError(f"{name}: gives {scores.shape[1]} classes, the others {config.Arch.class_num}")
            given[name].append(scores.argmax(1))
    tell_skipped(loader, set())
    if not labels:
        raise UserError("there is nothing to compare on: none of the images could be read")
    paths = [path for path in loader.images.paths if path not in loader.bad_images]
    return Answers(
        paths,
        np.concatenate(labels).astype(np.int64).reshape(-1),
        {name: np.concatenate(found) for name, found in given.items()},
        config.Arch.class_num,
    )


def picture(path: str) -> str | None:
    """A small JPEG of an image as a data URI; None of one that cannot be read."""
    from PIL import Image

    try:
        pixels = Image.fromarray(rgb(open_image(read_image(path))))
    except (UserError, OSError, ValueError):
        return None
    pixels.thumbnail((_PICTURE, _PICTURE))
    stream = memory.BytesIO()
    pixels.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

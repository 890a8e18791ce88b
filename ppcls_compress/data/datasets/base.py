"""What every data set has, and the registry of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.places import Places
from ppcls_compress.data.transforms import BatchTransformOps, TransformOps
from ppcls_compress.declare import LARGEST, Declarations, Options
from ppcls_compress.declare.paths import check_path


class Dataset(Options):
    """What every data set has.

    Attributes:
        labels: what an image has, `classes` (one, int64) or `attributes` (several, float32).
        paths: the options that are paths, each to a `file` or a `folder`: `$NAME` is replaced in them, they must be
            there, and a run that is resumed may have others.
        inert: the options that change nothing here, and why.
        tells_cameras: whether labels are [N, 2], the camera of each image second.
        pairs: whether it holds pairs of prepared faces, for `Global.eval_mode: adaface`, and no list of image files.
        transform_ops: per image, in this order.
        batch_transform_ops: per batch, in this order; they make labels soft.
        skip_bad_images: how many unreadable images are passed over before the run stops.
        allow_outside: take images that lie outside their folder, by `..`, by an absolute path or behind a link.
    """

    labels: ClassVar[str] = "classes"
    paths: ClassVar[Mapping[str, str]] = {}
    inert: ClassVar[Mapping[str, str]] = {}
    tells_cameras: ClassVar[bool] = False
    pairs: ClassVar[bool] = False

    transform_ops: TransformOps
    batch_transform_ops: BatchTransformOps = ()
    skip_bad_images: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    allow_outside: bool = False

    @field_validator("transform_ops")
    @classmethod
    def _images_are_decoded(cls, value: TransformOps) -> TransformOps:
        if not value:
            raise ValueError("the list is empty; it must start with DecodeImage")
        return value

    @property
    def label_of_transform(self) -> str | None:
        """The label that a transform gives and that counts instead of the list's."""
        return None

    def check_paths(self, where: str) -> None:
        """Whether what the data set points at is there; `where` is the key of its section.

        Raises:
            ConfigError: a path is missing.
        """
        for key, kind in self.paths.items():
            if getattr(self, key) is not None:
                check_path(f"{where}.{key}", getattr(self, key), kind)

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The images and their labels; `where` is the key of the section.

        Raises:
            ConfigError: a path is missing.
            UserError: the lists cannot be used; with file and line.
        """
        raise TypeError(f"{type(self).__name__} has no read of its own")

    def listed(self, where: str) -> dict[str, Any]:
        """What readers of a list take: `places`, `label_file`, `missing_allowed`, `where`; of the first such `paths`.

        Raises:
            ConfigError: a path is missing.
        """
        folder, file = (
            check_path(f"{where}.{key}", getattr(self, key), kind)
            for kind in ("folder", "file")
            for key in [next(key for key, found in self.paths.items() if found == kind)]
        )
        places = Places(folder, allow_outside=self.allow_outside)
        return {"places": places, "label_file": file, "missing_allowed": self.skip_bad_images, "where": where}

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Random labels of `count` images, of the shape and type that a batch has, where images are random too."""
        return rng.integers(class_num, size=count)


DATASETS: Declarations[Dataset] = Declarations("dataset")

"""CIFAR-10 and CIFAR-100 from their official archives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, field_validator

from ppcls_compress.data import cifar_archives
from ppcls_compress.data.cifar_archives import CIFAR10, CIFAR100, Archive
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.transforms.decoding import DecodeImage
from ppcls_compress.declare import Count
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, UserError


def _none(value: Any) -> Any:
    """`None` as PaddleClas' files write it, which YAML reads as text."""
    return None if value == "None" else value


_KEPT = Path("~/.cache/paddle/dataset/cifar")
"""Where Paddle keeps what it downloads."""


class _Cifar(Dataset):
    """What both have.

    Attributes:
        data_file: the archive; None takes it from where Paddle keeps it, `~/.cache/paddle/dataset/cifar`.
        mode: which images, those for training or those for a test.
        download: without effect; a missing archive is told with where to put it.
        backend: without effect.
        sample_per_label: take so many images of each class, drawn always alike; None for all of them.
        expand_labels: list them so many times over, which makes an epoch longer.
    """

    archive: ClassVar[Archive]
    paths: ClassVar[dict] = {"data_file": "file"}
    inert: ClassVar[dict] = {
        "download": "nothing is downloaded for a data set",
        "backend": "the archive has pixels, which need no decoding",
    }

    data_file: Annotated[str | None, BeforeValidator(_none)] = None
    mode: Literal["train", "test"] = "train"
    download: bool = True
    backend: Literal["cv2", "pil"] = "cv2"
    sample_per_label: Annotated[Count | None, BeforeValidator(_none)] = None
    expand_labels: Count = 1

    @field_validator("transform_ops", mode="before")
    @classmethod
    def _need_no_decoding(cls, value: Any) -> Any:
        """PaddleClas' files leave `DecodeImage` out here."""
        if not isinstance(value, list | tuple) or not value:
            return value
        first = next(iter(value[0]), None) if isinstance(value[0], dict) else value[0]
        return value if first == "DecodeImage" or isinstance(first, DecodeImage) else ["DecodeImage", *value]

    @field_validator("data_file")
    @classmethod
    def _where_paddle_keeps_it(cls, value: str | None) -> str:
        return value or str(_KEPT.expanduser() / cls.archive.name)

    def _file(self, where: str) -> Path:
        kept = _KEPT.expanduser() / self.archive.name
        if Path(self.data_file) == kept and not kept.is_file():
            raise ConfigError(
                f"{where}.data_file: nothing is downloaded for a data set; name {self.archive.name} here, or put it "
                f"into {kept.parent}"
            )
        return check_path(f"{where}.data_file", self.data_file, "file")

    def check_paths(self, where: str) -> None:
        """The archive."""
        self._file(where)

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The images of the archive."""
        if class_num < self.archive.classes:
            raise ConfigError(f"Arch.class_num: is {class_num}, {type(self).__name__} has {self.archive.classes}")
        path = self._file(where)
        images, labels = cifar_archives.read(path, self.archive, (self.mode,))[self.mode]
        labels = np.array(labels, np.int64)
        chosen = self._chosen(labels, path)
        blue_first = np.ascontiguousarray(images[chosen][:, ::-1].transpose(0, 2, 3, 1))
        names = [f"{path}:{self.mode}/{index:05d}" for index in chosen]
        return LabelledImages(names, labels[chosen], pixels=blue_first)

    def _chosen(self, labels: np.ndarray, path: Path) -> np.ndarray:
        """The positions of the images that are taken."""
        if self.sample_per_label is None:
            return np.tile(np.arange(len(labels)), self.expand_labels)
        rng, parts = np.random.default_rng(0), []
        for label in range(self.archive.classes):
            there = np.flatnonzero(labels == label)
            if len(there) < self.sample_per_label:
                raise UserError(
                    f"{path}: class {label} has {len(there)} images, sample_per_label asks for {self.sample_per_label}"
                )
            parts.append(rng.choice(there, self.sample_per_label, replace=False))
        return np.tile(np.concatenate(parts), self.expand_labels)


@DATASETS.declare
class Cifar10(_Cifar):
    """60,000 images of 32 x 32 pixels, of ten classes."""

    archive: ClassVar[str] = CIFAR10


@DATASETS.declare
class Cifar100(_Cifar):
    """60,000 images of 32 x 32 pixels, of a hundred classes."""

    archive: ClassVar[str] = CIFAR100

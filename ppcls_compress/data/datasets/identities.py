"""Images of vehicles, persons, products, logos and cartoons that are to be recognised again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from ppcls_compress.data import identity_lists
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.declare import at_key
from ppcls_compress.declare.paths import check_path


class DecodedDataset(Dataset):
    """A data set that decodes its images itself where `transform_ops` do not begin with `DecodeImage`.

    Attributes:
        backend: which library decodes then.
    """

    backend: Literal["cv2", "pil"] = "cv2"

    @model_validator(mode="before")
    @classmethod
    def _decoded(cls, data: Any) -> Any:
        ops = data.get("transform_ops") if isinstance(data, dict) else None
        if not isinstance(ops, list | tuple) or not ops or _decodes(ops[0]):
            return data
        first = {"backend": "pil", "to_np": False} if data.get("backend") == "pil" else None
        return {**data, "transform_ops": [{"DecodeImage": first}, *ops]}


def _decodes(entry: Any) -> bool:
    return entry == "DecodeImage" or type(entry).__name__ == "DecodeImage" or entry_name(entry) == "DecodeImage"


def entry_name(entry: Any) -> Any:
    """What a list entry of a YAML is called, `{Name: {...}}`."""
    return next(iter(entry), None) if isinstance(entry, dict) else entry


def pairs(rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
    """Random identities of which every two that follow each other are the same, int64 [N]."""
    return np.repeat(rng.integers(class_num, size=-(-count // 2)), 2)[:count]


def _seen(rng: np.random.Generator, count: int, class_num: int, *, cameras: int) -> np.ndarray:
    """`pairs`, and cameras in their order from a random one on, so that neighbours have two of them: int64 [N, 2]."""
    return np.stack([pairs(rng, count, class_num), (rng.integers(cameras) + np.arange(count)) % cameras], axis=1)


class IdentityList(DecodedDataset):
    """A folder of images and a list, the first of each kind in `paths`.

    Attributes:
        parse: what a line holds.
        expected: that in words.
    """

    parse: ClassVar[identity_lists.Parse]
    expected: ClassVar[str]

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the list, each checked."""
        return identity_lists.read_listed_identities(
            type(self).parse, expected=self.expected, class_num=class_num, **self.listed(where)
        )

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Two images of each identity."""
        return pairs(rng, count, class_num)


class _Listed(IdentityList):
    """Under the usual names."""

    paths: ClassVar[dict] = {"cls_label_path": "file", "image_root": "folder"}

    image_root: str
    cls_label_path: str


@DATASETS.declare
class VeriWild(_Listed):
    """A list of lines `relative/path identity camera`.

    Attributes:
        image_root: folder that the list's paths are relative to.
        cls_label_path: the list.
    """

    tells_cameras: ClassVar[bool] = True
    parse = staticmethod(identity_lists.with_camera)
    expected = "a path, an identity and a camera, such as 00001/000001.jpg 1 4"

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Two images of each identity, of any of four cameras: int64 [N, 2]."""
        return _seen(rng, count, class_num, cameras=4)


@DATASETS.declare
class ICartoonDataset(_Listed):
    """A list of lines `relative/path<tab>identity`."""

    parse = staticmethod(identity_lists.after("\t"))
    expected = "a path, a tab and an identity"


@DATASETS.declare
class LogoDataset(_Listed):
    """A list of columns with tabs between: the second is the class, counted from 1, the fourth the path."""

    parse = staticmethod(identity_lists.of_logos)
    expected = "at least four columns with tabs between, a class from 1 second and a path fourth"


@DATASETS.declare
class CompCars(_Listed):
    """A list of lines `relative/path label`, and the box of each car.

    Attributes:
        bbox_crop: cut the box out of the image first.
        label_root: folder of the boxes, `relative/path.txt` for `relative/path.jpg`, x1 y1 x2 y2 in the last line.
    """

    paths: ClassVar[dict] = {**_Listed.paths, "label_root": "folder"}
    parse = staticmethod(identity_lists.after(None))
    expected = "a path and a label"

    label_root: str | None = None
    bbox_crop: bool = False

    @model_validator(mode="after")
    def _boxes_have_a_place(self) -> CompCars:
        if self.bbox_crop and self.label_root is None:
            raise at_key("label_root", "is needed for bbox_crop, the folder of the boxes")
        return self

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the list, and the boxes where they are needed."""
        found = super().read(class_num=class_num, where=where)
        if not self.bbox_crop:
            return found
        root, boxes = Path(self.image_root), check_path(f"{where}.label_root", self.label_root, "folder")
        names = (Path(path).relative_to(root) for path in found.paths)
        # PaddleClas takes a name up to its first dot.
        files = (boxes / name.parent / f"{name.name.split('.')[0]}.txt" for name in names)
        return replace(found, boxes=np.array([identity_lists.read_box(file) for file in files], np.int64))


class _Persons(DecodedDataset):
    """A folder of .jpg files whose names tell identity and camera.

    Attributes:
        image_root: folder that holds the data set's own, `market1501/Market-1501-v15.09.15` say.
        cls_label_path: a folder in that: `bounding_box_train`, `query`, `bounding_box_test`. Where its name has `train`
            in it, identities are numbered 0, 1, ...
    """

    paths: ClassVar[dict] = {"image_root": "folder"}
    tells_cameras: ClassVar[bool] = True
    folder: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]]
    cameras: ClassVar[int]

    image_root: str
    cls_label_path: str

    def check_paths(self, where: str) -> None:
        """The folder of images too."""
        super().check_paths(where)
        check_path(f"{where}.cls_label_path", str(self._place), "folder")

    @property
    def _place(self) -> Path:
        return Path(self.image_root) / self.folder / self.cls_label_path

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The files of the folder, each name checked."""
        return identity_lists.read_named_identities(
            check_path(f"{where}.cls_label_path", str(self._place), "folder"),
            self.pattern,
            relabel="train" in self.cls_label_path,
            class_num=class_num,
            cameras=self.cameras,
        )

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Two images of each identity, of any camera: int64 [N, 2]."""
        return _seen(rng, count, class_num, cameras=self.cameras)


@DATASETS.declare
class Market1501(_Persons):
    """Market-1501 (Zheng et al. 2015)."""

    folder = "market1501/Market-1501-v15.09.15"
    pattern = re.compile(r"(-?\d+)_c(\d)")
    cameras = 6


@DATASETS.declare
class DukeMTMC(_Persons):
    """DukeMTMC-reID (Ristani et al. 2016)."""

    folder = "dukemtmc/DukeMTMC-reID"
    pattern = re.compile(r"(-?\d+)_c(\d)")
    cameras = 8


@DATASETS.declare
class MSMT17(_Persons):
    """MSMT17 (Wei et al. 2018), in folders of .jpg files."""

    folder = "msmt17/MSMT17_V1"
    pattern = re.compile(r"(-?\d+)_c(\d+)")
    cameras = 15

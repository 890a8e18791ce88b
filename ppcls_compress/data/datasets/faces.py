"""Images of faces, and pairs of them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator, model_validator

from ppcls_compress.data import identity_lists
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.datasets.identities import DecodedDataset, pairs
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.places import Places
from ppcls_compress.data.transforms import TransformOps
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import UserError


@DATASETS.declare
class AdaFaceDataset(DecodedDataset):
    """A list of lines `relative/path identity`; the transforms are called `transform`, as upstream.

    Attributes:
        root_dir: folder that the list's paths are relative to.
        label_path: the list.
    """

    paths: ClassVar[dict] = {"label_path": "file", "root_dir": "folder"}

    root_dir: str
    label_path: str

    @model_validator(mode="before")
    @classmethod
    def _named_as_upstream(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "transform" not in data:
            return data
        renamed = {"transform_ops" if key == "transform" else key: value for key, value in data.items()}
        return cls._decoded.__func__(cls, {"backend": "pil", **renamed})

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the list, each checked."""
        root = check_path(f"{where}.root_dir", self.root_dir, "folder")
        return identity_lists.read_listed_identities(
            identity_lists.after(None),
            expected="a path and an identity",
            places=Places(root, allow_outside=self.allow_outside),
            label_file=check_path(f"{where}.label_path", self.label_path, "file"),
            class_num=class_num,
            missing_allowed=self.skip_bad_images,
            where=where,
        )

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Two images of each identity."""
        return pairs(rng, count, class_num)


@DATASETS.declare
class FiveValidationDataset(Dataset):
    """AgeDB-30, CFP-FP, LFW, CPLFW and CALFW: pairs of aligned faces, for `Global.eval_mode: adaface`.

    Attributes:
        val_data_path: folder with, for each set, `<set>/memfile/mem_file.dat`, its `.conf`, and `<set>_list.npy`.
        concat_mem_file_name: one file of all sets, which upstream reads; the sets' own files are read here.
    """

    paths: ClassVar[dict] = {"val_data_path": "folder"}
    inert: ClassVar[dict] = {"concat_mem_file_name": "the files of each set are read, which it joins"}
    pairs: ClassVar[bool] = True

    transform_ops: TransformOps = ()
    val_data_path: str
    concat_mem_file_name: str | None = None

    @field_validator("transform_ops")
    @classmethod
    def _images_are_decoded(cls, value: TransformOps) -> TransformOps:
        if value:
            raise ValueError("the images of these sets are prepared already; leave transform_ops out")
        return value

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """There is no list of image files."""
        raise UserError(f"{where}: FiveValidationDataset holds pairs of faces; it is for Global.eval_mode: adaface")

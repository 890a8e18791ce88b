"""Images of faces, and pairs of them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator, model_validator

from ppcls_compress.data import identity_lists
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.datasets.identities import IdentityList
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.transforms import TransformOps
from ppcls_compress.errors import UserError


@DATASETS.declare
class AdaFaceDataset(IdentityList):
    """A list of lines `relative/path identity`; the transforms are called `transform`, as upstream.

    Attributes:
        root_dir: folder that the list's paths are relative to.
        label_path: the list.
    """

    paths: ClassVar[dict] = {"label_path": "file", "root_dir": "folder"}
    parse = staticmethod(identity_lists.after(None))
    expected = "a path and an identity"

    root_dir: str
    label_path: str

    @model_validator(mode="before")
    @classmethod
    def _named_as_upstream(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "transform" not in data:
            return data
        renamed = {"transform_ops" if key == "transform" else key: value for key, value in data.items()}
        return cls._decoded.__func__(cls, {"backend": "pil", **renamed})


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

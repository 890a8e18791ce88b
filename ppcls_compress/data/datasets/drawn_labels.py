"""Images whose labels are what a transform did to them."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.labels import LabelledImages, check_places, lines_of
from ppcls_compress.data.transforms.base import LabellingTransform
from ppcls_compress.declare import at_key
from ppcls_compress.errors import ConfigError, UserError


@DATASETS.declare
class CustomLabelDataset(Dataset):
    """A folder of images and a list of them without labels: the label of an image is what a transform drew.

    Attributes:
        image_root: folder that the list's paths are relative to.
        sample_list_path: file with a path in each line.
        label_key: of the transform that gives the label: `blur_image` of BlurImage, `random_rot90_orientation` of
            RandomRot90.
    """

    paths: ClassVar[dict] = {"sample_list_path": "file", "image_root": "folder"}

    image_root: str
    sample_list_path: str
    label_key: str

    @model_validator(mode="after")
    def _a_transform_gives_it(self) -> Self:
        given = [op.label_key for op in self.transform_ops if isinstance(op, LabellingTransform)]
        if self.label_key not in given:
            known = ", ".join(given) or "none"
            raise at_key("label_key", f"no transform in transform_ops gives {self.label_key!r}; labels there: {known}")
        return self

    @property
    def label_of_transform(self) -> str:
        """The configured one."""
        return self.label_key

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The listed images; in place of labels, which are drawn with each image, all that there are, in turn."""
        (count,) = {
            op.label_count
            for op in self.transform_ops
            if isinstance(op, LabellingTransform) and op.label_key == self.label_key
        }
        if class_num < count:
            raise ConfigError(f"{where}.label_key: {self.label_key} has {count} labels, Arch.class_num is {class_num}")
        found = self.listed(where)
        places, list_file = found["places"], found["label_file"]
        lines = list(lines_of(list_file))
        if not lines:
            raise UserError(f"{list_file}: the list is empty; expected a path in each line")
        names = [name for _, name in lines]
        numbers = [number for number, _ in lines]
        check_places(places, names, list_file, numbers, missing_allowed=self.skip_bad_images, where=where)
        return LabelledImages([places.path(name) for name in names], np.arange(len(names)) % count)

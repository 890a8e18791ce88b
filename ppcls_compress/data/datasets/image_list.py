"""A folder of images and a file with a line for each."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.labels import LabelledImages, read_labelled_images


@DATASETS.declare
class ImageNetDataset(Dataset):
    """A folder of images and a label file.

    Attributes:
        image_root: folder that the label file's paths are relative to. Here and in `cls_label_path`, `$NAME` is taken
            from the environment when the data set is opened.
        cls_label_path: label file with lines `relative/path label`.
        delimiter: what stands between path and label; None is white space.
        relabel: number the labels that occur 0, 1, ... in ascending order.
    """

    paths: ClassVar[dict] = {"cls_label_path": "file", "image_root": "folder"}

    image_root: str
    cls_label_path: str
    delimiter: Annotated[str, Field(min_length=1)] | None = None
    relabel: bool = False

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the label file, each checked."""
        return read_labelled_images(
            **self.listed(where), class_num=class_num, delimiter=self.delimiter, relabel=self.relabel
        )

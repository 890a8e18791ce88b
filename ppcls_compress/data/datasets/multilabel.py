"""Images with several labels each."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppcls_compress.data.attribute_lists import read_attribute_images
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.labels import LabelledImages


@DATASETS.declare
class MultiLabelDataset(Dataset):
    """A folder of images and a label file with lines `relative/path 0,1,0`, a tab between.

    A label is 1, 0, or -1 where it is not known, and then no loss or metric counts it.

    Attributes:
        image_root: folder that the label file's paths are relative to.
        cls_label_path: the label file.
        label_ratio: hand on the share of images that have each label too, for MultiLabelLoss with `weight_ratio`.
    """

    labels: ClassVar[str] = "attributes"
    paths: ClassVar[dict] = {"cls_label_path": "file", "image_root": "folder"}

    image_root: str
    cls_label_path: str
    label_ratio: bool = False

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the label file, each checked."""
        return read_attribute_images(**self.listed(where), class_num=class_num, with_shares=self.label_ratio)

    def draw(self, rng: np.random.Generator, count: int, class_num: int) -> np.ndarray:
        """Each label with probability one half, float32 [N, C], or [N, 2, C] with these shares."""
        labels = rng.integers(2, size=(count, class_num)).astype(np.float32)
        return np.stack([labels, np.full_like(labels, 0.5)], axis=1) if self.label_ratio else labels

"""Data sets, written as in `DataLoader.<split>.dataset` of PaddleClas YAML files, a file for each kind.

A new data set: a class with its options and `read`, decorated with `@DATASETS.declare`, in the file of its kind; a new
file, and its line in the first import here.
"""

from ppcls_compress.data.datasets import (  # noqa: F401  they declare
    cifar,
    drawn_labels,
    faces,
    identities,
    image_list,
    multi_scale,
    multilabel,
)
from ppcls_compress.data.datasets.base import DATASETS, Dataset
from ppcls_compress.data.datasets.image_list import ImageNetDataset
from ppcls_compress.data.datasets.multilabel import MultiLabelDataset

__all__ = ["DATASETS", "Dataset", "ImageNetDataset", "MultiLabelDataset"]

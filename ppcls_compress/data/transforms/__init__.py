"""Transforms of images and of batches, one file for each kind of thing they do.

A new one: a class with its options and its `step` in the file of its kind, decorated with `@TRANSFORMS.declare`.
"""

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, TRANSFORMS, BatchTransform, Transform
from ppcls_compress.data.transforms.lists import (
    BatchTransformOps,
    TransformOps,
    dump_transforms,
    inert_options,
    parse_transforms,
)

__all__ = [
    "BATCH_TRANSFORMS",
    "TRANSFORMS",
    "BatchTransform",
    "BatchTransformOps",
    "Transform",
    "TransformOps",
    "dump_transforms",
    "inert_options",
    "parse_transforms",
]

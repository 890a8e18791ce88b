"""Images that come in the size that a sampler draws for each batch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import field_validator

from ppcls_compress.data.datasets.base import DATASETS
from ppcls_compress.data.datasets.image_list import ImageNetDataset
from ppcls_compress.data.transforms import Transform, TransformOps
from ppcls_compress.data.transforms.cropping import CropImage
from ppcls_compress.data.transforms.resampling import ResizeImage
from ppcls_compress.data.transforms.sampling import RandCropImage

_SIZED = (RandCropImage, ResizeImage, CropImage)


@DATASETS.declare
class MultiScaleDataset(ImageNetDataset):
    """The same as `ImageNetDataset`; with a `MultiScaleSampler` its crops and resizes are of the batch's size."""

    @field_validator("transform_ops")
    @classmethod
    def _sizes_can_be_chosen(cls, value: TransformOps) -> TransformOps:
        if not any(isinstance(op, _SIZED) for op in value):
            raise ValueError("needs RandCropImage, ResizeImage or CropImage, whose size is that of the batch")
        return value


def at_size(ops: Sequence[Transform], size: tuple[int, int]) -> tuple[Transform, ...]:
    """Transforms that make images of a size, (width, height): of crops and resizes nothing else is kept."""
    return tuple(type(op)(size=size) if isinstance(op, _SIZED) else op for op in ops)

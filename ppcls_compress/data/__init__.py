"""Image lists to batches: data sets, transforms, samplers, loaders.

Names are imported on first use, so that `python -m ppcls_compress.data.digits` does not wait for Paddle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppcls_compress.data.images import BadImageError, read_image
    from ppcls_compress.data.images.listing import left_out, list_images
    from ppcls_compress.data.labels import read_class_names
    from ppcls_compress.data.loader import Loader, build_loader
    from ppcls_compress.data.synthetic import SyntheticLoader, synthetic_loader
    from ppcls_compress.data.transforms.pipeline import Pipeline, build_pipeline

_HOME = {
    "BadImageError": "images",
    "read_image": "images",
    "left_out": "images.listing",
    "list_images": "images.listing",
    "read_class_names": "labels",
    "Loader": "loader",
    "build_loader": "loader",
    "SyntheticLoader": "synthetic",
    "synthetic_loader": "synthetic",
    "Pipeline": "transforms.pipeline",
    "build_pipeline": "transforms.pipeline",
}

__all__ = [
    "BadImageError",
    "Loader",
    "Pipeline",
    "SyntheticLoader",
    "build_loader",
    "build_pipeline",
    "left_out",
    "list_images",
    "read_class_names",
    "read_image",
    "synthetic_loader",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

"""What a transform declares, and the registries of transforms.

The class has the name that the YAML uses: `{CropImage: {size: 224}}` becomes `CropImage(size=(224, 224))`. Sizes are
(width, height), which is how PaddleClas reads a list. Between decoding and the end an image is an array [H, W, C] (or
[C, H, W] after `ToCHWImage`) of three channels, or of one where it is grey, uint8 until it is normalised. Every random
draw comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator

from ppcls_compress.declare import Declarations, Number, Options, PositiveInt

Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(image, generator) -> image."""
BatchStep = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(images [N, C, H, W], targets [N, K], generator) -> the same, mixed."""


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | str) else value


def lower(value: Any) -> Any:
    """Text in lower case, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
"""(width, height) in pixels; one number means a square."""
Backend = Annotated[Literal["cv2", "pil"], BeforeValidator(lower)]
"""Which library does the pixel work: OpenCV or Pillow."""
Interval = tuple[Number, Number]


class Transform(Options):
    """Base of the per-image transforms.

    Attributes:
        takes: what the transform works on: encoded `bytes`, an `hwc` image, or an image in `any` layout.
        inert: options of upstream that change nothing here: option -> (value that asks for nothing, reason).
    """

    takes: ClassVar[Literal["bytes", "hwc", "any"]] = "hwc"
    inert: ClassVar[Mapping[str, tuple[object, str]]] = {}

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the generator."""
        return False

    @property
    def needs_uint8(self) -> bool:
        """Whether the transform refuses an image that has been normalised already."""
        return False

    def misfit(self, channels: int) -> tuple[str, str] | None:
        """The first option that does not fit images of so many channels, and why; None where all do."""
        return None

    def layout_after(self, layout: str) -> str:
        """`hwc` or `chw`: how an image that comes in as `layout` goes out."""
        return layout

    def inert_options(self) -> Iterator[tuple[str, str]]:
        """The options that are set in vain, each with the reason."""
        for option, (harmless, reason) in self.inert.items():
            if getattr(self, option) != harmless:
                yield option, reason

    def step(self) -> Step:
        """The transform of one image."""
        raise TypeError(f"{type(self).__name__} has no step of its own")


class RandomTransform(Transform):
    """Base of those transforms that always draw."""

    @property
    def is_random(self) -> bool:
        """True."""
        return True


class BatchTransform(Options):
    """Base of the transforms of a whole batch; they turn labels into rows of class probabilities."""

    def step(self) -> BatchStep:
        """The transform of one batch; `images` may be overwritten."""
        raise TypeError(f"{type(self).__name__} has no step of its own")


TRANSFORMS: Declarations[Transform] = Declarations("transform")
BATCH_TRANSFORMS: Declarations[BatchTransform] = Declarations("batch transform")

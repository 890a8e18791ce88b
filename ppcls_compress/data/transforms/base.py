"""What a transform declares, and the registries of transforms.

The class has the name that the YAML uses: `{CropImage: {size: 224}}` becomes `CropImage(size=(224, 224))`. Sizes are
(width, height), which is how PaddleClas reads a list. Between decoding and the end an image is an array [H, W, C] (or
[C, H, W] after `ToCHWImage`) of three channels, or of one where it is grey, uint8 until it is normalised. Every random
draw comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from ppcls_compress.declare import Declarations, Number, Options, PositiveInt

Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(image, generator) -> image."""
LabelledStep = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, int]]
"""(image, generator) -> (image, label)."""
BatchStep = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(images [N, C, H, W], targets [N, K], generator) -> the same, mixed."""


def pair(value: Any) -> Any:
    """One number twice, anything else as it is."""
    return (value, value) if isinstance(value, int | str) else value


def lower(value: Any) -> Any:
    """Text in lower case, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(pair)]
"""(width, height) in pixels; one number means a square."""
Backend = Annotated[Literal["cv2", "pil"], BeforeValidator(lower)]
"""Which library does the pixel work: OpenCV or Pillow."""
Interval = tuple[Number, Number]
PerChannel = Annotated[
    tuple[Number, ...],
    Field(min_length=1, max_length=3),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
]
"""A number for each channel; one number stands for all of them."""


def wrong_count(values: tuple[float, ...] | None, channels: int) -> str | None:
    """Why a `PerChannel` does not fit images of so many channels; three numbers that are equal are one."""
    if values is None or len(values) in (1, channels) or channels == len(set(values)) == 1:
        return None
    return f"found {len(values)} numbers, images have {channels} channels here"


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A `PerChannel` that fits, written out."""
    return values if len(values) == channels else values[:1] * channels


@dataclass(frozen=True)
class Images:
    """What is known of the images at one place of a list of transforms.

    Attributes:
        channels: 3, or 1 where they are grey.
        layout: `hwc` or `chw`.
        by_pillow: PaddleClas holds them as images of Pillow here, so that those transforms that it takes from Paddle
            use Pillow; they use OpenCV otherwise.
        changed_by: the transform after which the pixels are no longer 8-bit integers; None if they are.
    """

    channels: int = 3
    layout: Literal["hwc", "chw"] = "hwc"
    by_pillow: bool = False
    changed_by: str | None = None


class Transform(Options):
    """Base of the per-image transforms.

    Attributes:
        takes: what the transform works on: encoded `bytes`, an image that must be `hwc` at this place, or one in `any`
            layout, of which it is shown an [H, W, C] view.
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
        """Whether the transform refuses pixels that are no longer 8-bit integers."""
        return False

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """The first option that does not fit the images, and why; None where all do."""
        return None

    def after(self, images: Images) -> Images:
        """What is known of the images afterwards."""
        return images

    def inert_options(self) -> Iterator[tuple[str, str]]:
        """The options that are set in vain, each with the reason."""
        for option, (harmless, reason) in self.inert.items():
            if getattr(self, option) != harmless:
                yield option, reason

    def at(self, epoch: int, epochs: int) -> Transform:
        """The transform as it is in an epoch of a run, counted from 0; most stay what they are."""
        return self

    def tables(self, images: Images) -> np.ndarray | None:
        """float32 [C, 256]: what becomes of each 8-bit value, for a transform that looks at each by itself."""
        return None

    def step(self, images: Images) -> Step:
        """The transform of one image, where this is known of the images that come in."""
        raise TypeError(f"{type(self).__name__} has no step of its own")


class RandomTransform(Transform):
    """Base of those transforms that always draw."""

    @property
    def is_random(self) -> bool:
        """True."""
        return True


class LabellingTransform(RandomTransform):
    """Base of those whose draw is a label of the sample, for data sets that learn to tell it.

    Attributes:
        label_key: what PaddleClas calls the label.
        label_count: how many labels there are, from 0.
    """

    label_key: ClassVar[str] = ""
    label_count: ClassVar[int] = 0

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        labelled = self.labelled_step(images)
        return lambda image, rng: labelled(image, rng)[0]

    def labelled_step(self, images: Images) -> LabelledStep:
        """The transform of one image, and the label."""
        raise TypeError(f"{type(self).__name__} has no labelled_step of its own")


class BatchTransform(Options):
    """Base of the transforms of a whole batch; they turn labels into rows of class probabilities."""

    def misfit(self, class_num: int) -> tuple[str, str] | None:
        """The first option that does not fit so many classes, and why; None where all do."""
        return None

    def step(self) -> BatchStep:
        """The transform of one batch; `images` may be overwritten."""
        raise TypeError(f"{type(self).__name__} has no step of its own")


TRANSFORMS: Declarations[Transform] = Declarations("transform")
BATCH_TRANSFORMS: Declarations[BatchTransform] = Declarations("batch transform")

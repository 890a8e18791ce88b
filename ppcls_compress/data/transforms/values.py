"""Transforms of the values and of the layout: normalisation, channels first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field, field_validator

from ppcls_compress.data.transforms.base import TRANSFORMS, Step, Transform, lower
from ppcls_compress.declare import Number

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PerChannel = Annotated[
    tuple[Number, ...],
    Field(min_length=1, max_length=3),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
]
"""A number for each channel; one number stands for all of them."""


@TRANSFORMS.declare
class NormalizeImage(Transform):
    """(image * scale - mean) / std, in float32.

    Attributes:
        scale: a number or arithmetic such as `1.0/255.0`; None is 1/255.
        mean: per channel, or one for all, after scaling; None is ImageNet's, of three channels.
        std: likewise.
        order: `chw` or `hwc` (also written as an empty string); must be the layout that the image has at this point.
        channel_num: of the result: what the image has (None), or 4, which appends a channel of zeros.
        output_fp16: without effect; images stay float32.
    """

    takes: ClassVar = "any"
    scale: Number | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    order: Annotated[
        Literal["chw", "hwc", ""], BeforeValidator(lambda value: "" if value is None else lower(value))
    ] = "chw"
    channel_num: Literal[1, 3, 4] | None = None
    output_fp16: bool = False
    inert: ClassVar = {
        "output_fp16": (False, "images stay float32; the AMP section chooses the type of the computation")
    }

    @field_validator("std")
    @classmethod
    def _std_divides(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError(f"expected positive numbers, found {list(value)}")
        return value

    def misfit(self, channels: int) -> tuple[str, str] | None:
        """One number for all channels, or one for each; three that are equal are one."""
        for key, given in (("mean", self.mean), ("std", self.std)):
            if given is None and channels != 3:
                return key, f"ImageNet's has three channels, images have {channels} here; give one, such as [0.5]"
            if given is not None and len(given) not in (1, channels) and not channels == len(set(given)) == 1:
                return key, f"found {len(given)} numbers, images have {channels} channels here"
        allowed = (1,) if channels == 1 else (channels, 4)
        if self.channel_num not in (None, *allowed):
            numbers = ", ".join(map(str, allowed))
            return "channel_num", f"found {self.channel_num} for images of {channels} channels; allowed: {numbers}"
        return None

    def numbers(self, channels: int) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """Scale, means and standard deviations for images of so many channels."""
        scale = 1 / 255 if self.scale is None else self.scale
        mean, std = self.mean or _IMAGENET_MEAN, self.std or _IMAGENET_STD
        return scale, _as_many(mean, channels), _as_many(std, channels)

    def step(self) -> Step:
        """The transform of one image."""
        axis = 0 if self.order == "chw" else 2
        # All 256 results per channel, by the same float32 formula: a look-up is several times faster and equal bit for
        # bit.
        tables: dict[int, np.ndarray] = {}

        def formula(image: np.ndarray) -> np.ndarray:
            shape = [1, 1, 1]
            shape[axis] = image.shape[axis]
            scale, mean, std = (np.float32(values) for values in self.numbers(image.shape[axis]))
            return (image.astype(np.float32) * scale - mean.reshape(shape)) / std.reshape(shape)

        def table(channels: int) -> np.ndarray:
            if channels not in tables:
                tables[channels] = formula(np.arange(256, dtype=np.uint8)[None, :, None].repeat(channels, axis=2))
            return tables[channels]

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            by_table = axis == 2 and image.dtype == np.uint8
            result = cv2.LUT(image, table(image.shape[2])).reshape(image.shape) if by_table else formula(image)
            if self.channel_num == 4:
                zeros = np.zeros_like(np.take(result, [0], axis=axis))
                result = np.concatenate([result, zeros], axis=axis)
            return result

        return step


def _as_many(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else values[:1] * channels


@TRANSFORMS.declare
class ToCHWImage(Transform):
    """[H, W, C] to [C, H, W]. A pipeline ends in [C, H, W] whether or not this is its last step."""

    def layout_after(self, layout: str) -> str:
        """Channels first."""
        return "chw"

    def step(self) -> Step:
        """The transform of one image."""
        return lambda image, rng: image.transpose(2, 0, 1)

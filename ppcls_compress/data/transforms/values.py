"""Transforms of the values and of the layout: normalisation, channels first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, field_validator

from ppcls_compress.data.transforms.base import TRANSFORMS, Step, Transform, lower
from ppcls_compress.declare import Number

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@TRANSFORMS.declare
class NormalizeImage(Transform):
    """(image * scale - mean) / std, in float32.

    Attributes:
        scale: a number or arithmetic such as `1.0/255.0`; None is 1/255.
        mean: per channel, after scaling; None is ImageNet's.
        std: per channel, after scaling; None is ImageNet's.
        order: `chw` or `hwc` (also written as an empty string); must be the layout that the image has at this point.
        channel_num: 4 appends a channel of zeros.
        output_fp16: without effect; images stay float32.
    """

    takes: ClassVar = "any"
    scale: Number | None = None
    mean: tuple[Number, Number, Number] | None = None
    std: tuple[Number, Number, Number] | None = None
    order: Annotated[
        Literal["chw", "hwc", ""], BeforeValidator(lambda value: "" if value is None else lower(value))
    ] = "chw"
    channel_num: Literal[3, 4] = 3
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

    def step(self) -> Step:
        """The transform of one image."""
        channel = 0 if self.order == "chw" else 2
        shape = (3, 1, 1) if self.order == "chw" else (1, 1, 3)
        scale = np.float32(1 / 255 if self.scale is None else self.scale)
        mean = np.reshape(np.array(self.mean or _IMAGENET_MEAN, np.float32), shape)
        std = np.reshape(np.array(self.std or _IMAGENET_STD, np.float32), shape)

        def formula(image: np.ndarray) -> np.ndarray:
            return (image.astype(np.float32) * scale - mean) / std

        # All 256 results per channel, by the same float32 formula: a look-up is several times faster and equal bit for
        # bit.
        every_value = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
        table = formula(every_value) if self.order != "chw" else None

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            by_table = table is not None and image.dtype == np.uint8
            image = cv2.LUT(image, table) if by_table else formula(image)
            if self.channel_num == 4:
                zeros = np.zeros_like(np.take(image, [0], axis=channel))
                image = np.concatenate([image, zeros], axis=channel)
            return image

        return step


@TRANSFORMS.declare
class ToCHWImage(Transform):
    """[H, W, C] to [C, H, W]. A pipeline ends in [C, H, W] whether or not this is its last step."""

    def layout_after(self, layout: str) -> str:
        """Channels first."""
        return "chw"

    def step(self) -> Step:
        """The transform of one image."""
        return lambda image, rng: image.transpose(2, 0, 1)

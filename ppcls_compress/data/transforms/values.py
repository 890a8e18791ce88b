"""Transforms of the values and of the layout: normalisation, channels first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Images,
    PerChannel,
    Step,
    Transform,
    lower,
    per_channel,
    wrong_count,
)
from ppcls_compress.declare import Number

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _positive(value: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if value is not None and min(value) <= 0:
        raise ValueError(f"expected positive numbers, found {list(value)}")
    return value


Deviations = Annotated[PerChannel, AfterValidator(_positive)]


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

    takes: ClassVar[str] = "any"
    scale: Number | None = None
    mean: PerChannel | None = None
    std: Deviations | None = None
    order: Annotated[
        Literal["chw", "hwc", ""], BeforeValidator(lambda value: "" if value is None else lower(value))
    ] = "chw"
    channel_num: Literal[1, 3, 4] | None = None
    output_fp16: bool = False
    inert: ClassVar[dict] = {
        "output_fp16": (False, "images stay float32; the AMP section chooses the type of the computation")
    }

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """The layout, one number for all channels or one for each, and a number of channels that can be made."""
        channels = images.channels
        if (self.order or "hwc") != images.layout:
            return "order", f"found {self.order!r}, but images are {images.layout!r} here; write order: {images.layout}"
        for key, given in (("mean", self.mean), ("std", self.std)):
            if given is None and channels != 3:
                return key, f"ImageNet's has three channels, images have {channels} here; give one, such as [0.5]"
            if (text := wrong_count(given, channels)) is not None:
                return key, text
        allowed = (1,) if channels == 1 else (channels, 4)
        if self.channel_num not in (None, *allowed):
            numbers = ", ".join(map(str, allowed))
            return "channel_num", f"found {self.channel_num} for images of {channels} channels; allowed: {numbers}"
        return None

    def after(self, images: Images) -> Images:
        """No more 8-bit integers."""
        return dataclasses.replace(images, by_pillow=False, changed_by="NormalizeImage")

    def numbers(self, channels: int) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """Scale, means and standard deviations for images of so many channels."""
        scale = 1 / 255 if self.scale is None else self.scale
        mean, std = self.mean or _IMAGENET_MEAN, self.std or _IMAGENET_STD
        return scale, per_channel(mean, channels), per_channel(std, channels)

    def tables(self, images: Images) -> np.ndarray | None:
        """Of all channels, unless one is appended."""
        return None if self.channel_num == 4 else _tables(self._formula(images), images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        formula = self._formula(images)
        if self.channel_num != 4:
            return lambda image, rng: formula(image)

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            result = formula(image)
            return np.concatenate([result, np.zeros_like(result[:, :, :1])], axis=2)

        return step

    def _formula(self, images: Images) -> Formula:
        scale, mean, std = (np.float32(values) for values in self.numbers(images.channels))
        return lambda image: (image.astype(np.float32) * scale - mean) / std


Formula = Callable[[np.ndarray], np.ndarray]
"""Of each value of each channel of an image [H, W, C]."""


def _tables(formula: Formula, images: Images) -> np.ndarray | None:
    """All results of a formula for 8-bit values, float32 [C, 256]: looked up, they come several times faster."""
    if images.changed_by:
        return None
    values = np.arange(256, dtype=np.uint8)[:, None].repeat(images.channels, axis=1)
    return np.ascontiguousarray(formula(values).T)


@TRANSFORMS.declare
class Normalize(Transform):
    """(image - mean) / std, in float32; after `ToTensor` the values are between 0 and 1.

    Attributes:
        mean: per channel, or one for all.
        std: likewise.
        data_format: `CHW` or `HWC`; must be the layout that the image has at this point.
        to_rgb: without effect; the channels stay in their order, as they do in PaddleClas after `ToTensor`.
        keys: without effect; there is one image.
    """

    takes: ClassVar[str] = "any"
    mean: PerChannel = (0.0,)
    std: Deviations = (1.0,)
    data_format: Literal["CHW", "HWC"] = "CHW"
    to_rgb: bool = False
    keys: Any = None
    inert: ClassVar[dict] = {
        "to_rgb": (False, "after ToTensor the channels stay in their order; DecodeImage.to_rgb chooses it"),
        "keys": (None, "a sample has one image"),
    }

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """The layout, and one number for all channels or one for each."""
        if self.data_format.lower() != images.layout:
            return "data_format", f"found {self.data_format}, but images are {images.layout.upper()} here"
        for key, given in (("mean", self.mean), ("std", self.std)):
            if (text := wrong_count(given, images.channels)) is not None:
                return key, text
        return None

    def after(self, images: Images) -> Images:
        """No more 8-bit integers."""
        return dataclasses.replace(images, by_pillow=False, changed_by="Normalize")

    def tables(self, images: Images) -> np.ndarray | None:
        """Of all channels."""
        return _tables(self._formula(images), images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        formula = self._formula(images)
        return lambda image, rng: formula(image)

    def _formula(self, images: Images) -> Formula:
        mean, std = (np.float32(per_channel(values, images.channels)) for values in (self.mean, self.std))
        return lambda image: (image.astype(np.float32) - mean) / std


@TRANSFORMS.declare
class ToTensor(Transform):
    """8-bit [H, W, C] to float32 [C, H, W] between 0 and 1; pixels that are floating point already keep their values.

    Attributes:
        data_format: `HWC` leaves the layout.
        keys: without effect; there is one image.
    """

    data_format: Literal["CHW", "HWC"] = "CHW"
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def after(self, images: Images) -> Images:
        """No more 8-bit integers."""
        layout = self.data_format.lower()
        return dataclasses.replace(images, layout=layout, by_pillow=False, changed_by=images.changed_by or "ToTensor")

    def tables(self, images: Images) -> np.ndarray | None:
        """Of all channels."""
        return _tables(lambda image: image.astype(np.float32) / np.float32(255), images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            values = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image
            return values.transpose(2, 0, 1) if self.data_format == "CHW" else values

        return step


@TRANSFORMS.declare
class ToCHWImage(Transform):
    """[H, W, C] to [C, H, W]. A pipeline ends in [C, H, W] whether or not this is its last step."""

    def after(self, images: Images) -> Images:
        """Channels first."""
        return dataclasses.replace(images, layout="chw", by_pillow=False)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        return lambda image, rng: image.transpose(2, 0, 1)

"""Transforms that add pixels around an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

import cv2
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ppcls_compress.data.transforms.base import (
    TRANSFORMS,
    Backend,
    Images,
    PerChannel,
    Size,
    Step,
    Transform,
    per_channel,
    wrong_count,
)
from ppcls_compress.declare import PositiveInt
from ppcls_compress.errors import UserError

_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}
PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]
"""`reflect` leaves the border pixel single, `symmetric` repeats it."""
Fill = PerChannel
Width = Annotated[int, Field(ge=0, le=2**15)]
Sides = Annotated[
    tuple[Width] | tuple[Width, Width] | tuple[Width, Width, Width, Width],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
]
"""Pixels: one number for all sides, [left and right, top and bottom], or [left, top, right, bottom]."""
Border = Callable[[np.ndarray, int, int, int, int], np.ndarray]
"""(image, top, bottom, left, right) -> the image with so many pixels more."""


@TRANSFORMS.declare
class Pad(Transform):
    """Adds `padding` pixels on all four sides.

    Attributes:
        fill: value of the new pixels, or one per channel, for `padding_mode: constant`.
        padding_mode: see `PaddingMode`. PaddleClas pads with a constant whatever it says.
        backend: without effect; a border is the same from either library.
    """

    padding: Width
    fill: Fill = (0.0,)
    padding_mode: PaddingMode = "constant"
    backend: Backend = "pil"

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value, or one for each channel."""
        return wrong_fill(self.fill, images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        border, width = bordered(self.fill, self.padding_mode, "Pad"), self.padding
        return lambda image, rng: border(image, width, width, width, width)


@TRANSFORMS.declare
class Pad_paddle_vision(Transform):
    """Adds pixels as Paddle's `Pad` does, on each side as many as are asked for.

    Attributes:
        padding: see `Sides`.
        keys: without effect; there is one image.
    """

    padding: Sides
    fill: Fill = (0.0,)
    padding_mode: PaddingMode = "constant"
    keys: Any = None
    inert: ClassVar[dict] = {"keys": (None, "a sample has one image")}

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value, or one for each channel."""
        return wrong_fill(self.fill, images)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        border = bordered(self.fill, self.padding_mode, "Pad_paddle_vision")
        return lambda image, rng: padded(image, self.padding, border)


@TRANSFORMS.declare
class Padv2(Transform):
    """Adds pixels until the image has `size`, or until its sides are multiples of `size_divisor`.

    Attributes:
        size: (width, height); None goes by `size_divisor`.
        pad_mode: where the image comes to lie: -1 at `offsets`, 0 in the upper left corner, 1 in the middle, 2 in the
            lower right corner.
        offsets: [left, top] for `pad_mode: -1`.
        fill_value: value of the new pixels, or one per channel.
    """

    size: Size | None = None
    size_divisor: PositiveInt = 32
    pad_mode: Literal[-1, 0, 1, 2] = 0
    offsets: tuple[Width, Width] | None = None
    fill_value: Fill = (127.5, 127.5, 127.5)

    @model_validator(mode="after")
    def _offsets_are_there(self) -> Self:
        if self.pad_mode == -1 and self.offsets is None:
            raise ValueError("pad_mode -1 takes the place of the image from offsets, which are not given")
        return self

    @property
    def _whole(self) -> bool:
        return all(value.is_integer() and 0 <= value <= 255 for value in map(float, self.fill_value))

    def misfit(self, images: Images) -> tuple[str, str] | None:
        """One value, or one for each channel."""
        text = wrong_count(self.fill_value, images.channels)
        return None if text is None else ("fill_value", text)

    def after(self, images: Images) -> Images:
        """8-bit pixels stay such if the new ones can be, though PaddleClas makes numbers of the same value of them."""
        changed = images.changed_by or (None if self._whole else "Padv2")
        return dataclasses.replace(images, by_pillow=False, changed_by=changed)

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        border = bordered(self.fill_value, "constant", "Padv2")

        def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            rows, columns = image.shape[:2]
            width, height = self.size or (_up(columns, self.size_divisor), _up(rows, self.size_divisor))
            left, top = self._place(height - rows, width - columns)
            if min(left, top, height - rows - top, width - columns - left) < 0:
                raise UserError(
                    f"Padv2 to {width}x{height} has no room for an image of {columns}x{rows} (width x height)"
                    + (f" at offsets {list(self.offsets)}" if self.pad_mode == -1 else "")
                )
            if image.dtype == np.uint8 and not self._whole:
                image = image.astype(np.float32)
            return border(image, top, height - rows - top, left, width - columns - left)

        return step

    def _place(self, rows: int, columns: int) -> tuple[int, int]:
        """Left and top of an image beside which so many rows and columns are new."""
        if self.pad_mode == -1:
            return self.offsets
        return {0: (0, 0), 1: (columns // 2, rows // 2), 2: (columns, rows)}[self.pad_mode]


def _up(length: int, divisor: int) -> int:
    return -(-length // divisor) * divisor


def wrong_fill(fill: Fill, images: Images) -> tuple[str, str] | None:
    """What a transform answers of an option `fill` with a wrong number of values."""
    if len(fill) in (1, images.channels):
        return None
    return "fill", f"found {len(fill)} values, images have {images.channels} channels here"


def bordered(fill: Fill, mode: PaddingMode, name: str) -> Border:
    """What adds a border; `name` is the transform that asks for it."""
    code, value = _BORDERS[mode], per_channel(fill, 3)

    def border(image: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        rows, columns = image.shape[:2]
        if mode == "reflect" and (max(top, bottom) >= rows or max(left, right) >= columns):
            widest = max(top, bottom, left, right)
            raise UserError(f"{name} cannot reflect {widest} pixels of an image of shape {list(image.shape)}")
        if not any((top, bottom, left, right)):
            return image
        return cv2.copyMakeBorder(image, top, bottom, left, right, code, value=value).reshape(
            rows + top + bottom, columns + left + right, -1
        )

    return border


def padded(image: np.ndarray, sides: tuple[int, ...], border: Border) -> np.ndarray:
    """An image with a border on the sides that `Sides` names."""
    if len(sides) == 1:
        left = top = right = bottom = sides[0]
    elif len(sides) == 2:
        left, top = right, bottom = sides
    else:
        left, top, right, bottom = sides
    return border(image, top, bottom, left, right)

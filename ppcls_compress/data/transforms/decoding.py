"""The first transform of every list: encoded bytes to pixels, in the order and layout that is asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import Field

from ppcls_compress.data.images.header import (
    MAX_PIXELS,
    MOST_PIXELS,
    BadImageError,
    check_size,
    open_image,
    orientation,
    plain_jpeg,
    upright,
)
from ppcls_compress.data.images.pixels import rgb
from ppcls_compress.data.images.truncation import is_truncated
from ppcls_compress.data.transforms.base import TRANSFORMS, Backend, Images, Transform
from ppcls_compress.errors import one_line

_BY_OPENCV = ("JPEG", "MPO", "PNG", "WEBP")
"""Formats that every version of OpenCV decodes as they are meant; Pillow decodes the others for both backends."""
_RED_FIRST: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)
"""How OpenCV is asked for red first, from 4.11 on."""


@TRANSFORMS.declare
class DecodeImage(Transform):
    """Decodes an encoded image to uint8: samples of 16 bits become their upper byte, transparency is dropped.

    Attributes:
        to_rgb: red first; otherwise blue first.
        to_np: False leaves the backend's own order (Pillow: RGB, OpenCV: BGR), with `to_rgb` and
            `channel_first` off.
        channel_first: [3, H, W] instead of [H, W, 3].
        backend: who decodes JPEG, PNG and WebP; TIFF, GIF, BMP and what else there is are Pillow's in any case.
        channels: 1 makes the image grey, [H, W, 1].
        exif_orientation: turn the image as its EXIF says, with either backend. Upstream does with OpenCV only. TIFF's
            own orientation counts in any case.
        max_pixels: of images that are decoded at all; the header tells how many there are.
    """

    takes: ClassVar[str] = "bytes"
    to_rgb: bool = True
    to_np: bool = True
    channel_first: bool = False
    backend: Backend = "cv2"
    channels: Literal[1, 3] = 3
    exif_orientation: bool = True
    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MAX_PIXELS

    @property
    def red_first(self) -> bool:
        """Whether red comes first in what is decoded."""
        return self.to_rgb if self.to_np else self.backend == "pil"

    def after(self, images: Images) -> Images:
        """8-bit images as the options say."""
        return Images(
            channels=self.channels,
            layout="chw" if self.channel_first and self.to_np else "hwc",
            by_pillow=self.backend == "pil" and not self.to_np,
        )


def decode(data: bytes, options: DecodeImage) -> np.ndarray:
    """The uint8 image in `data`, with the channels, order and layout that `options` ask for.

    Raises:
        BadImageError: the bytes are no image, end early, hold more pixels than `options` allow, or samples of which
            nothing says what is white.
    """
    if is_truncated(data):
        raise BadImageError("the image is truncated: its end is missing")
    if options.backend == "cv2" and (size := plain_jpeg(data)) is not None:
        check_size(*size, max_pixels=options.max_pixels)
        red_first = options.red_first and _RED_FIRST is not None
        return ordered(_decoded_by_opencv(data, red_first=red_first), options, red_first=red_first)
    with open_image(data, max_pixels=options.max_pixels) as image:
        by_opencv = options.backend == "cv2" and image.format in _BY_OPENCV
        red_first = not by_opencv or (options.red_first and _RED_FIRST is not None)
        pixels = _decoded_by_opencv(data, red_first=red_first) if by_opencv else rgb(image)
        if options.exif_orientation:
            pixels = upright(pixels, orientation(image, data))
    return ordered(pixels, options, red_first=red_first)


def ordered(pixels: np.ndarray, options: DecodeImage, *, red_first: bool) -> np.ndarray:
    """Decoded pixels, uint8 [H, W, 3], as `options` ask for them.

    Args:
        red_first: whether they are; otherwise blue comes first.
    """
    if options.channels == 1:
        # ITU-R BT.601, as every decoder of grey has it; a pixel that is grey already stays what it is.
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if red_first else cv2.COLOR_BGR2GRAY)[:, :, None]
    elif options.red_first != red_first:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels.transpose(2, 0, 1) if options.channel_first and options.to_np else pixels


def _decoded_by_opencv(data: bytes, *, red_first: bool) -> np.ndarray:
    code = _RED_FIRST if red_first else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), code | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadImageError(f"OpenCV cannot decode the image: {one_line(error.err, 200)}") from error
    if pixels is None:
        raise BadImageError("not an image that OpenCV can decode")
    return pixels

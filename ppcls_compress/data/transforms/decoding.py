"""Image files to arrays; what is unreadable or cut short is an error that says so, never a partial picture."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image

from ppcls_compress.data.transforms.base import TRANSFORMS, Backend, Transform
from ppcls_compress.errors import UserError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
# A marker inside entropy-coded JPEG data: neither a stuffed zero byte nor one of the eight restart markers.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


@TRANSFORMS.declare
class DecodeImage(Transform):
    """Decodes an encoded image to uint8 with three channels.

    Attributes:
        to_rgb: red first; otherwise blue first.
        to_np: False leaves the backend's own order (Pillow: RGB, OpenCV: BGR), with `to_rgb` and
            `channel_first` off.
        channel_first: [3, H, W] instead of [H, W, 3].
        backend: OpenCV applies the EXIF orientation, Pillow does not.
    """

    takes: ClassVar = "bytes"
    to_rgb: bool = True
    to_np: bool = True
    channel_first: bool = False
    backend: Backend = "cv2"

    def layout_after(self, layout: str) -> str:
        """Channels last, unless `channel_first` says otherwise."""
        return "chw" if self.channel_first and self.to_np else "hwc"


class BadImageError(UserError):
    """An image that cannot be read or decoded in full."""


def read_image(path: str | Path) -> bytes:
    """The bytes of an image file.

    Raises:
        BadImageError: the file is missing, empty or unreadable; the message names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BadImageError(f"{path}: cannot be read: {error.strerror}") from error
    if not data:
        raise BadImageError(f"{path}: the file is empty")
    return data


def decode(data: bytes, options: DecodeImage) -> np.ndarray:
    """The uint8 image in `data`, three channels in the order and layout that `options` ask for.

    Raises:
        BadImageError: the bytes are no image, or end early.
    """
    if is_truncated(data):
        raise BadImageError("the image is truncated: its end is missing")
    image = _decode_pil(data) if options.backend == "pil" else _decode_cv2(data)
    rgb = options.backend == "pil"
    if options.to_np and options.to_rgb != rgb:
        image = swap_red_blue(image)
    return image.transpose(2, 0, 1) if options.to_np and options.channel_first else image


def swap_red_blue(image: np.ndarray) -> np.ndarray:
    """RGB to BGR or back, [H, W, 3]."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; decoders may fill the missing rows with grey and not complain."""
    if data.startswith(_JPEG_START):
        return not _jpeg_is_complete(data)
    return data.startswith(_PNG_START) and _PNG_END not in data[-4096:] and _PNG_END not in data


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether the end marker is there: as the last bytes, or, if something follows it, after the coded data.

    A thumbnail inside a header segment has an end marker too, so segments are stepped over by their length.
    """
    if data.endswith(_JPEG_END):
        return True
    position = len(_JPEG_START)
    while marker := _JPEG_MARKER.search(data, position):
        if marker.group()[-1:] == _JPEG_END[-1:]:
            return True
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def _decode_cv2(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadImageError(f"OpenCV cannot decode the image: {error.err}") from error
    if image is None:
        raise BadImageError("not an image that OpenCV can decode")
    return image


def _decode_pil(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except Exception as error:  # a damaged file makes Pillow raise OSError, SyntaxError, ValueError, struct.error, ...
        raise BadImageError(f"not an image that Pillow can decode: {error}") from error

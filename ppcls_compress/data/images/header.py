"""What an image says of itself before its pixels are decoded: format, size, and how it is to be turned."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from ppcls_compress.errors import UserError, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of what is read, as far as the installed Pillow has it. Others, PostScript say, run programs."""

MAX_PIXELS = 89_478_485
"""Of one image unless configured otherwise; Pillow warns of more."""
MOST_PIXELS = 178_956_970
"""That can be configured; Pillow opens nothing larger."""

_ORIENTATION = 0x0112
# A PNG may tell its orientation after its pixels, so Pillow decodes them to look for it.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


class BadImageError(UserError):
    """An image that cannot be read or decoded in full."""


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in `data`, its header read and its pixels not.

    Raises:
        BadImageError: it is of no format that is read here, its header is damaged, or it has more than `max_pixels`.
    """
    try:
        with without_warnings():
            image = Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError:
        raise BadImageError(f"more than {MOST_PIXELS:,} pixels, which are not read") from None
    except Image.UnidentifiedImageError:
        raise BadImageError(f"not an image: {_unidentified(data)}") from None
    except Exception as error:  # a damaged header makes Pillow raise OSError, SyntaxError, ValueError, struct.error ...
        raise BadImageError(f"not an image: its header is damaged ({one_line(error, 200)})") from error
    check_size(*image.size, max_pixels=max_pixels)
    return image


def check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Refuse an image of more than `max_pixels`.

    Raises:
        BadImageError: it is one.
    """
    if width * height > max_pixels:
        raise BadImageError(
            f"{width} x {height} pixels are more than {max_pixels:,}; DecodeImage.max_pixels says how many are read"
        )


_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
# JFIF, Adobe's, comments, tables; what another application adds may say how the image is to be turned.
_JPEG_PLAIN = (0xE0, 0xEE, 0xFE, 0xDB, 0xC4, 0xDD)


def plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of an 8-bit JPEG, grey or coloured, with nothing in its header that matters otherwise.

    None for any other, and for anything that is no JPEG or damaged: Pillow knows more of these, in ten times the time.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    position = 2
    while (segment := data[position : position + 10])[:1] == b"\xff" and len(segment) == 10:
        if segment[1] in _JPEG_FRAMES:
            height, width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            return (width, height) if segment[4] == 8 and segment[9] in (1, 3) and width and height else None
        if segment[1] not in _JPEG_PLAIN:
            return None
        position += 2 + int.from_bytes(segment[2:4], "big")
    return None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow's warnings, of many pixels or odd metadata, are not told: what matters is checked here and is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _unidentified(data: bytes) -> str:
    if data.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF whose kind of samples Pillow does not know; save it with 8 or 16 bits"
    return f"it has the form of none of {', '.join(_formats())}"


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def orientation(image: Image.Image, data: bytes) -> int:
    """How the pixels of an image are to be turned, as EXIF numbers it, 1 to 8; 1 where it does not say.

    Also 1 for TIFF, of which it is a part: Pillow turns these when it loads them.

    Args:
        image: as `open_image` gives it.
        data: the same, encoded.
    """
    if image.format == "TIFF" or (image.format == "PNG" and not any(mark in data for mark in _PNG_MARKS)):
        return 1
    try:
        with without_warnings():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF; it says nothing then
        return 1
    return value if value in _TURNS else 1


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels [H, W, C] turned as EXIF's orientation `turn` says."""
    return np.ascontiguousarray(_TURNS[turn](pixels))


_TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}

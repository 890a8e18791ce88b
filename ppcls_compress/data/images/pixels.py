"""Pillow's images of every mode to 8-bit RGB, by what their samples mean.

Pillow's own conversion cuts 16-bit grey off at 255, so that all but its darkest 256th is white. Samples of 16 bits
become their upper byte here, as OpenCV and libpng have it. What has no largest value, numbers of 32 bits and floating
point, is refused: which of them is white is not written in the file.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppcls_compress.data.images.header import BadImageError, without_warnings
from ppcls_compress.errors import one_line

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
# Alpha multiplied in already: Pillow converts these to no opaque mode.
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}


def rgb(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image, uint8 [H, W, 3], red first; transparency is dropped, the first frame counts.

    Raises:
        BadImageError: the pixels are damaged or end early, or have no largest value.
    """
    try:
        with without_warnings():
            return _rgb(image)
    except BadImageError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise OSError, SyntaxError, ValueError, struct.error ...
        raise BadImageError(f"not an image that Pillow can decode: {one_line(error, 200)}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    image.load()
    depth, inverted = _depth(image)
    if image.mode.startswith("I"):
        return _from_deep_grey(np.asarray(image), depth, inverted=inverted)
    if image.mode in _STRAIGHT:
        image = image.convert(_STRAIGHT[image.mode])
    return np.array(image.convert("RGB"))


def _from_deep_grey(samples: np.ndarray, depth: int, *, inverted: bool) -> np.ndarray:
    grey = (np.clip(samples, 0, 2**depth - 1) >> (depth - 8)).astype(np.uint8)
    grey = 255 - grey if inverted else grey
    return np.repeat(grey[:, :, None], 3, axis=2)


def _depth(image: Image.Image) -> tuple[int, bool]:
    """Bits of one sample, and whether Pillow leaves the zero of a deep grey image white, as the file has it.

    Raises:
        BadImageError: the samples have no largest value.
    """
    if image.mode.startswith("F"):
        raise BadImageError(_refusal("in floating point"))
    if image.format != "TIFF":
        return 16, False  # PNG, PNM and JPEG 2000: Pillow widens what has fewer bits
    tags = image.tag_v2
    bits, kinds = _several(tags.get(_BITS, 1)), _several(tags.get(_SAMPLE_FORMAT, _UNSIGNED))
    if any(kind != _UNSIGNED for kind in kinds):
        raise BadImageError(_refusal("with a sign"))
    if max(bits) > 16:
        raise BadImageError(_refusal(f"of {max(bits)} bits"))
    return bits[0], tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _several(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _refusal(samples: str) -> str:
    return f"its samples are {samples}, and nothing says which of them is white; save it with 8 or 16 bits, unsigned"

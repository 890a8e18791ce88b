"""What policies and jitters do to the pixels of 8-bit images [H, W, 3], red first, equal to Pillow's bit for bit.

What maps each value of a channel to another is looked up, which is faster than Pillow; Pillow does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from ppcls_compress.data.transforms import moving
from ppcls_compress.data.transforms.base import Images, Step

Colour: TypeAlias = tuple[int, ...]
_VALUES = np.arange(256)
_SMOOTH = np.float32([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / np.float32(13)
"""A sum of thirteenths rounds alike in any order: it is never near a half."""


def of_colour(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], images: Images) -> Step:
    """The step of a change of colour images; a grey one is changed as the colour image of three equal channels."""
    if images.channels == 3:
        return lambda image, rng: change(np.ascontiguousarray(image), rng)
    return lambda image, rng: change(image.repeat(3, axis=2), rng)[:, :, :1]


def through_pillow(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """What a function of Pillow's images makes of an array."""
    return np.asarray(change(Image.fromarray(image)))


def invert(image: np.ndarray) -> np.ndarray:
    """Each value taken from 255."""
    return 255 - image


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Values from the threshold on inverted."""
    return _looked_up(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES))


def solarize_add(image: np.ndarray, addend: int, threshold: int = 128) -> np.ndarray:
    """The addend added to values below the threshold."""
    return _looked_up(image, np.where(threshold > _VALUES, np.minimum(_VALUES + addend, 255), _VALUES))


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """The upper bits of each value; of none of them the image is black."""
    return image if bits >= 8 else _looked_up(image, _VALUES & -(1 << (8 - max(bits, 0))))


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Each channel stretched to the whole range."""
    tables = []
    for channel in cv2.split(image):
        low, high, _, _ = cv2.minMaxLoc(channel)
        scale = 255 / (high - low) if high > low else 1
        offset = -low * scale if high > low else 0
        tables.append(np.clip(np.trunc(_VALUES * scale + offset), 0, 255))
    return _looked_up(image, np.stack(tables, axis=-1))


def equalize(image: np.ndarray) -> np.ndarray:
    """Each channel's histogram made flat."""
    tables = []
    counts = np.array(Image.fromarray(image).histogram()).reshape(-1, 256)
    for count in counts:
        used = count[count > 0]
        step = (used.sum() - used[-1]) // 255 if len(used) > 1 else 0
        before = np.cumsum(count) - count
        tables.append(np.minimum((step // 2 + before) // step, 255) if step else _VALUES)
    return _looked_up(image, np.stack(tables, axis=-1))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Each value times the factor."""
    return _looked_up(image, _blend(0, factor))


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Each value's distance from the mean luma times the factor."""
    luma = np.asarray(Image.fromarray(image).convert("L"))
    return _looked_up(image, _blend(int(cv2.mean(luma)[0] + 0.5), factor))


def colour(image: np.ndarray, factor: float) -> np.ndarray:
    """Each pixel's distance from its luma times the factor; 0 is a grey image."""
    return through_pillow(image, lambda picture: ImageEnhance.Color(picture).enhance(factor))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Each pixel's distance from its smoothed neighbourhood times the factor; the outermost pixels stay."""
    if min(image.shape[:2]) < 3 or factor == 1:
        return image
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    value = (image[1:-1, 1:-1].astype(np.int16) - smooth[1:-1, 1:-1]).astype(np.float32)
    value *= np.float32(factor)
    value += smooth[1:-1, 1:-1]
    result = image.copy()
    result[1:-1, 1:-1] = np.clip(value, 0, 255, out=value)
    return result


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """The hue turned by a part of the circle, in 255 steps."""
    steps = int(turn * 255)

    def change(picture: Image.Image) -> Image.Image:
        h, s, v = picture.convert("HSV").split()
        turned = h.point([(value + steps) % 256 for value in range(256)])
        return Image.merge("HSV", (turned, s, v)).convert("RGB")

    return through_pillow(image, change)


def cutout(image: np.ndarray, half: int, fill: Colour, rng: np.random.Generator) -> np.ndarray:
    """A square of twice `half` around a uniform centre painted over, as far as it lies inside."""
    rows, columns = image.shape[:2]
    y, x = (int(centre) for centre in rng.integers((rows + 1, columns + 1)))
    result = image.copy()
    result[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = fill
    return result


def affine(image: np.ndarray, matrix: tuple[float, ...], resample: Image.Resampling, fill: Colour) -> np.ndarray:
    """The image whose pixel (x, y) is that at (a x + b y + c, d x + e y + f), for the matrix (a, b, c, d, e, f).

    Places are those of the pixels' middles.
    """
    moved = _moved(image, matrix, fill) if resample == Image.Resampling.BICUBIC else None
    if moved is not None:
        return moved
    return through_pillow(
        image,
        lambda picture: picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill
        ),
    )


def _moved(image: np.ndarray, matrix: tuple[float, ...], fill: Colour) -> np.ndarray | None:
    """The same where pixels move along their row or their column alone; None otherwise."""
    a, b, c, d, e, f = matrix
    if (a, d, e, f) == (1, 0, 1, 0):
        return moving.along_rows(image, b, c, fill)
    if (a, b, c, e) == (1, 0, 0, 1):
        return moving.along_columns(image, d, f, fill)
    return None


def rotate(image: np.ndarray, degrees: float, resample: Image.Resampling, fill: Colour) -> np.ndarray:
    """Turned counter-clockwise around the middle; the size stays."""
    return through_pillow(image, lambda picture: picture.rotate(degrees, resample=resample, fillcolor=fill))


def _looked_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value replaced by its entry in a table [256] or [256, C]."""
    table = table.astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else table[None])


def _blend(other: int, factor: float) -> np.ndarray:
    """[256]: each value between the other and itself, or beyond, as Pillow's `blend` computes it in float32."""
    if factor == 1:
        return _VALUES
    blended = np.float32(other) + np.float32(factor) * (_VALUES - other).astype(np.float32)
    return np.clip(np.trunc(blended), 0, 255)

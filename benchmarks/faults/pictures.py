"""Small pictures in every format that is read."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def pictures() -> dict[str, bytes]:
    """Files by a name for what they are."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    colour = Image.fromarray(pixels)
    kinds = {
        "jpeg": (colour, "JPEG", {}),
        "jpeg progressive": (colour, "JPEG", {"progressive": True}),
        "jpeg grey": (colour.convert("L"), "JPEG", {}),
        "jpeg cmyk": (colour.convert("CMYK"), "JPEG", {}),
        "jpeg exif": (colour, "JPEG", {"exif": _turned()}),
        "png": (colour, "PNG", {}),
        "png palette": (colour.convert("P"), "PNG", {}),
        "png alpha": (colour.convert("RGBA"), "PNG", {}),
        "png 16": (Image.fromarray(pixels[..., 0].astype(np.uint16) * 200), "PNG", {}),
        "png 1": (colour.convert("1"), "PNG", {}),
        "gif": (colour.convert("P"), "GIF", {"save_all": True, "append_images": [colour.convert("P")]}),
        "bmp": (colour, "BMP", {}),
        "webp": (colour, "WEBP", {}),
        "webp lossless": (colour, "WEBP", {"lossless": True}),
        "tiff": (colour, "TIFF", {}),
        "tiff lzw": (colour, "TIFF", {"compression": "tiff_lzw"}),
        "ppm": (colour, "PPM", {}),
        "jpeg 2000": (colour, "JPEG2000", {}),
    }
    found = {}
    for name, (image, kind, options) in kinds.items():
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        found[name] = stream.getvalue()
    return found


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif

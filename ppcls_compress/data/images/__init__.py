"""Image files to pixels, the same whichever library decodes them."""

from ppcls_compress.data.images.files import read_image
from ppcls_compress.data.images.header import BadImageError

__all__ = ["BadImageError", "read_image"]

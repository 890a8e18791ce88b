"""What policies have in common."""

from __future__ import annotations

import dataclasses

import numpy as np

from ppcls_compress.data.transforms.base import Images, RandomTransform


class Policy(RandomTransform):
    """Base of the policies, which change 8-bit images; a grey one as the colour image of three equal channels."""

    @property
    def needs_uint8(self) -> bool:
        """Pillow's images are 8-bit."""
        return True

    def after(self, images: Images) -> Images:
        """An array."""
        return dataclasses.replace(images, by_pillow=False)


def either(value: float, rng: np.random.Generator) -> float:
    """A value, or its negative, as likely."""
    return value if rng.integers(2) else -value

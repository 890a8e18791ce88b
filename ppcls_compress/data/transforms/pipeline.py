"""The pipeline that chains the transforms of one image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ppcls_compress.data.transforms.base import TRANSFORMS, Step, Transform
from ppcls_compress.data.transforms.decoding import DecodeImage, decode, swap_red_blue
from ppcls_compress.data.transforms.lists import layout_after
from ppcls_compress.errors import UserError


class Pipeline:
    """Transforms in a row: an encoded image (bytes), or a decoded one, to float32 [C, H, W].

    A decoded image is what `cv2.imread` gives: uint8 [H, W, 3], blue first; `DecodeImage` then only orders it.
    """

    def __init__(self, ops: Sequence[Transform]) -> None:
        self.ops = tuple(ops)
        self._decode = self.ops[0] if self.ops and isinstance(self.ops[0], DecodeImage) else None
        rest = self.ops[1:] if self._decode else self.ops
        self._steps: list[tuple[str, Step]] = [(TRANSFORMS.name_of(op), op.step()) for op in rest]
        self._ends_in_chw = layout_after(self.ops) == "chw"

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the generator."""
        return any(op.is_random for op in self.ops)

    def __call__(self, image: bytes | np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Apply every transform.

        Raises:
            BadImageError: the bytes do not decode.
            UserError: a transform cannot work on this image, such as a crop larger than it.
            ValueError: the pipeline is random and `rng` is None.
        """
        if rng is None and self.is_random:
            raise ValueError("this pipeline draws random numbers and needs a generator")
        array = self._decoded(image)
        for name, step in self._steps:
            try:
                array = step(array, rng)
            except cv2.error as error:
                raise UserError(f"{name} cannot work on an image of shape {list(array.shape)}: {error.err}") from error
        if not self._ends_in_chw:
            array = array.transpose(2, 0, 1)
        return np.ascontiguousarray(array, np.float32)

    def _decoded(self, image: bytes | np.ndarray) -> np.ndarray:
        decoding = self._decode or DecodeImage()
        if isinstance(image, bytes):
            return decode(image, decoding)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"expected an image uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        rgb = decoding.to_rgb if decoding.to_np else decoding.backend == "pil"
        image = swap_red_blue(image) if rgb else image
        return image.transpose(2, 0, 1) if decoding.to_np and decoding.channel_first else image


def build_pipeline(ops: Sequence[Transform]) -> Pipeline:
    """The pipeline of a list of transforms, as in `Infer.transforms` or a data set's `transform_ops`."""
    return Pipeline(ops)

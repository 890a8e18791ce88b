"""The pipeline that chains the transforms of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ppcls_compress.data.images.header import BadImageError
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, LabelledStep, LabellingTransform, Transform
from ppcls_compress.data.transforms.decoding import DecodeImage, decode, ordered
from ppcls_compress.data.transforms.lists import images_at
from ppcls_compress.errors import UserError, one_line


class Pipeline:
    """Transforms in a row: an encoded image (bytes), or a decoded one, to float32 [C, H, W].

    A decoded image is what `cv2.imread` gives: uint8 [H, W, 3], blue first; `DecodeImage` then only orders it. Where it
    asks for one channel, [H, W] and [H, W, 1] are taken too.
    """

    def __init__(self, ops: Sequence[Transform]) -> None:
        self.ops = tuple(ops)
        self._decode = self.ops[0] if self.ops and isinstance(self.ops[0], DecodeImage) else None
        *places, end = images_at(self.ops)
        self._steps = [
            (TRANSFORMS.name_of(op), _fitted(op, images))
            for op, images in zip(self.ops, places, strict=True)
            if op is not self._decode
        ]
        self._ends_in_chw = end.layout == "chw"

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the generator."""
        return any(op.is_random for op in self.ops)

    def at(self, epoch: int, epochs: int) -> Pipeline:
        """The pipeline as it is in an epoch of a run, counted from 0."""
        ops = tuple(op.at(epoch, epochs) for op in self.ops)
        return self if ops == self.ops else Pipeline(ops)

    def __call__(self, image: bytes | np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Apply every transform.

        Raises:
            BadImageError: the bytes do not decode.
            UserError: a transform cannot work on this image, such as a crop larger than it.
            ValueError: the pipeline is random and `rng` is None.
        """
        return self.labelled(image, rng)[0]

    def labelled(
        self,
        image: bytes | np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        box: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """The same, and the labels that transforms give: what PaddleClas calls a label -> the label.

        Args:
            box: the part of the decoded image that the others are shown, x1 y1 x2 y2 in pixels; None for all of it.

        Raises:
            BadImageError: as a call, or nothing of the image lies in the box.
            UserError: as a call.
            ValueError: as a call.
        """
        if rng is None and self.is_random:
            raise ValueError("this pipeline draws random numbers and needs a generator")
        array, labels = self._boxed(self._decoded(image), box), {}
        for name, step in self._steps:
            try:
                array = step(array, rng, labels)
            except (cv2.error, MemoryError) as error:
                reason = one_line(getattr(error, "err", "") or "it needs more memory than there is", 200)
                raise UserError(f"{name} cannot work on an image of shape {list(array.shape)}: {reason}") from error
            if array.ndim == 2:
                array = array[:, :, None]  # OpenCV and Pillow drop the axis of a single channel
        if not self._ends_in_chw:
            array = array.transpose(2, 0, 1)
        return np.ascontiguousarray(array, np.float32), labels

    def _boxed(self, array: np.ndarray, box: Sequence[int] | None) -> np.ndarray:
        if box is None:
            return array
        x1, y1, x2, y2 = box
        first = self._decode is not None and self._decode.after(Images()).layout == "chw"
        part = array[:, y1:y2, x1:x2] if first else array[y1:y2, x1:x2]
        if not part.size:
            raise BadImageError(f"the box {x1} {y1} {x2} {y2} lies outside the image of shape {list(array.shape)}")
        return np.ascontiguousarray(part)

    def _decoded(self, image: bytes | np.ndarray) -> np.ndarray:
        decoding = self._decode or DecodeImage()
        if isinstance(image, bytes):
            return decode(image, decoding)
        grey = decoding.channels == 1 and image.ndim in (2, 3) and image.shape[2:] in ((), (1,))
        if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)):
            raise UserError(f"expected an image uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        if grey:
            image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
        return ordered(np.ascontiguousarray(image), decoding, red_first=False)


LabellingStep = Callable[[np.ndarray, np.random.Generator, dict[str, int]], np.ndarray]
"""(image, generator, labels to add to) -> image."""


def _fitted(op: Transform, images: Images) -> LabellingStep:
    """The step of a transform at its place; one that takes any layout is shown [H, W, C]."""
    if isinstance(op, LabellingTransform):
        return _noting(op.labelled_step(images), op.label_key)
    step = op.step(images)
    if op.takes == "any" and images.layout == "chw":
        return lambda image, rng, labels: step(image.transpose(1, 2, 0), rng).transpose(2, 0, 1)
    return lambda image, rng, labels: step(image, rng)


def _noting(step: LabelledStep, key: str) -> LabellingStep:
    def noting(image: np.ndarray, rng: np.random.Generator, labels: dict[str, int]) -> np.ndarray:
        image, labels[key] = step(image, rng)
        return image

    return noting


def build_pipeline(ops: Sequence[Transform]) -> Pipeline:
    """The pipeline of a list of transforms, as in `Infer.transforms` or a data set's `transform_ops`."""
    return Pipeline(ops)

"""The pipeline that chains the transforms of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """The same, and the labels that transforms give: what PaddleClas calls a label -> the label.

        Args:
            box: the part of the decoded image that the others are shown, x1 y1 x2 y2 in pixels; None for all of it.
            out: float32 [C, H, W], contiguous: where the result is to be, if it has that shape; it is returned then.

        Raises:
            BadImageError: as a call, or nothing of the image lies in the box.
            UserError: as a call.
            ValueError: as a call.
        """
        if rng is None and self.is_random:
            raise ValueError("this pipeline draws random numbers and needs a generator")
        array, run = self._boxed(self._decoded(image), box), Run(rng, out)
        for name, step in self._steps:
            try:
                array = step(array, run)
            except (cv2.error, MemoryError) as error:
                reason = one_line(getattr(error, "err", "") or "it needs more memory than there is", 200)
                raise UserError(f"{name} cannot work on an image of shape {list(array.shape)}: {reason}") from error
            if array.ndim == 2:
                array = array[:, :, None]  # OpenCV and Pillow drop the axis of a single channel
        if not self._ends_in_chw:
            array = array.transpose(2, 0, 1)
        if out is None or array.shape != out.shape:
            return np.ascontiguousarray(array, np.float32), run.labels
        if not np.may_share_memory(array, out):
            np.copyto(out, array)
        return out, run.labels

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


@dataclass
class Run:
    """What one image has on its way.

    Attributes:
        rng: where draws come from.
        out: where the result goes, if it has that shape.
        labels: that transforms gave so far.
    """

    rng: np.random.Generator | None
    out: np.ndarray | None = None
    labels: dict[str, int] = field(default_factory=dict)


FittedStep = Callable[[np.ndarray, Run], np.ndarray]


def _fitted(op: Transform, images: Images) -> FittedStep:
    """The step of a transform at its place; one that takes any layout is shown [H, W, C]."""
    if isinstance(op, LabellingTransform):
        return _noting(op.labelled_step(images), op.label_key)
    if (tables := op.tables(images)) is not None:
        return _looking_up(tables, images.layout, op.after(images).layout)
    step = op.step(images)
    if op.takes == "any" and images.layout == "chw":
        return lambda image, run: step(image.transpose(1, 2, 0), run.rng).transpose(2, 0, 1)
    return lambda image, run: step(image, run.rng)


def _noting(step: LabelledStep, key: str) -> FittedStep:
    def noting(image: np.ndarray, run: Run) -> np.ndarray:
        image, run.labels[key] = step(image, run.rng)
        return image

    return noting


def _looking_up(tables: np.ndarray, before: str, after: str) -> FittedStep:
    """8-bit pixels to what the tables [C, 256] have for them; in memory channels come first, whatever the layout."""

    def look_up(image: np.ndarray, run: Run) -> np.ndarray:
        channels = cv2.split(image if before == "hwc" else image.transpose(1, 2, 0))
        shape = (len(channels), *channels[0].shape)
        planes = run.out if run.out is not None and run.out.shape == shape else np.empty(shape, np.float32)
        for channel, table, plane in zip(channels, tables, planes, strict=True):
            cv2.LUT(channel, table, plane)
        return planes if after == "chw" else planes.transpose(1, 2, 0)

    return look_up


def build_pipeline(ops: Sequence[Transform]) -> Pipeline:
    """The pipeline of a list of transforms, as in `Infer.transforms` or a data set's `transform_ops`."""
    return Pipeline(ops)

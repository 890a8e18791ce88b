"""The transforms of one image, and the pipeline that chains them.

Between decoding and the end an image is an array [H, W, 3] (or [3, H, W] after `ToCHWImage`), uint8 until it is
normalised. Every random draw comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from ppcls_compress.config import transforms as options
from ppcls_compress.data.decode import decode, swap_red_blue
from ppcls_compress.errors import UserError
from ppcls_compress.registry import Registry

Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Resize = Callable[[np.ndarray, tuple[int, int], np.random.Generator], np.ndarray]

STEPS: Registry[Callable[..., Step]] = Registry("transform")
"""By the name of the options class: options -> (image, generator) -> image."""

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}
_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


class Pipeline:
    """Transforms in a row: an encoded image (bytes), or a decoded one, to float32 [C, H, W].

    A decoded image is what `cv2.imread` gives: uint8 [H, W, 3], blue first; `DecodeImage` then only orders it.
    """

    def __init__(self, ops: Sequence[options.Transform]) -> None:
        self.ops = tuple(ops)
        self._decode = self.ops[0] if self.ops and isinstance(self.ops[0], options.DecodeImage) else None
        rest = self.ops[1:] if self._decode else self.ops
        self._steps: list[tuple[str, Step]] = [(type(op).__name__, STEPS.get(type(op).__name__)(op)) for op in rest]
        self._ends_in_chw = any(isinstance(op, options.ToCHWImage) for op in rest) or bool(
            self._decode and self._decode.to_np and self._decode.channel_first
        )

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the generator."""
        return any(isinstance(op, _RANDOM) or getattr(op, "interpolation", None) == "random" for op in self.ops)

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
        decoding = self._decode or options.DecodeImage()
        if isinstance(image, bytes):
            return decode(image, decoding)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"expected an image uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        rgb = decoding.to_rgb if decoding.to_np else decoding.backend == "pil"
        image = swap_red_blue(image) if rgb else image
        return image.transpose(2, 0, 1) if decoding.to_np and decoding.channel_first else image


def build_pipeline(ops: Sequence[options.Transform]) -> Pipeline:
    """The pipeline of a list of transforms, as in `Infer.transforms` or a data set's `transform_ops`."""
    return Pipeline(ops)


def _resizer(interpolation: str | None, backend: str) -> Resize:
    """Resizing to (width, height) with the named interpolation; `random` draws bilinear or bicubic."""
    codes, default = (_PIL, "bicubic") if backend == "pil" else (_CV2, "bilinear")
    names = ("bilinear", "bicubic") if interpolation == "random" else (interpolation or default,)

    def resize(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        code = codes[names[0] if len(names) == 1 else names[int(rng.integers(len(names)))]]
        if backend == "pil":
            return np.asarray(Image.fromarray(image).resize(size, code))
        return cv2.resize(image, size, interpolation=code)

    return resize


@STEPS.register("ResizeImage")
def _resize(op: options.ResizeImage) -> Step:
    resize = _resizer(op.interpolation, op.backend)

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = op.size or _short_side(image, op.resize_short)
        return resize(image, size, rng)

    return step


def _short_side(image: np.ndarray, target: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    factor = target / min(height, width)
    return round(width * factor), round(height * factor)


@STEPS.register("RandCropImage")
def _rand_crop_image(op: options.RandCropImage) -> Step:
    resize = _resizer(op.interpolation, op.backend)

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        stretch = math.sqrt(rng.uniform(*(op.ratio or _RATIO)))
        # The largest part of the area at which a crop of this shape still lies inside the image.
        bound = min(width / height / stretch**2, height / width * stretch**2)
        low, high = (min(part, bound) for part in op.scale or _SCALE)
        side = math.sqrt(width * height * rng.uniform(low, high))
        crop_width = min(max(int(side * stretch), 1), width)
        crop_height = min(max(int(side / stretch), 1), height)
        left = int(rng.integers(width - crop_width + 1))
        top = int(rng.integers(height - crop_height + 1))
        return resize(image[top : top + crop_height, left : left + crop_width], op.size, rng)

    return step


@STEPS.register("CropImage")
def _crop_image(op: options.CropImage) -> Step:
    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spare_height, spare_width = _spare(image, op)
        return _cut(image, spare_height // 2, spare_width // 2, op.size)

    return step


@STEPS.register("RandCropImageV2")
@STEPS.register("RandomCropImage")
def _rand_crop_image_v2(op: options.RandCropImageV2) -> Step:
    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spare_height, spare_width = _spare(image, op)
        top, left = rng.integers((spare_height + 1, spare_width + 1))
        return _cut(image, int(top), int(left), op.size)

    return step


def _spare(image: np.ndarray, op: options.CropImage | options.RandCropImageV2) -> tuple[int, int]:
    """Rows and columns that the crop leaves over."""
    (width, height), (rows, columns) = op.size, image.shape[:2]
    if rows < height or columns < width:
        raise UserError(
            f"{type(op).__name__} of {width}x{height} does not fit into an image of {columns}x{rows} (width x height); "
            "resize or pad it first"
        )
    return rows - height, columns - width


def _cut(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    return image[top : top + size[1], left : left + size[0]]


@STEPS.register("Pad")
def _pad(op: options.Pad) -> Step:
    border, width = _BORDERS[op.padding_mode], op.padding
    fill = op.fill if isinstance(op.fill, tuple) else (op.fill,) * 3

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if border == cv2.BORDER_REFLECT_101 and width >= min(image.shape[:2]):
            raise UserError(f"Pad cannot reflect {width} pixels of an image of shape {list(image.shape)}")
        return cv2.copyMakeBorder(image, width, width, width, width, border, value=fill)

    return step


@STEPS.register("RandFlipImage")
def _rand_flip_image(op: options.RandFlipImage) -> Step:
    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.flip(image, op.flip_code) if rng.integers(2) else image

    return step


@STEPS.register("NormalizeImage")
def _normalize_image(op: options.NormalizeImage) -> Step:
    channel = 0 if op.order == "chw" else 2
    shape = (3, 1, 1) if op.order == "chw" else (1, 1, 3)
    scale = np.float32(1 / 255 if op.scale is None else op.scale)
    mean = np.reshape(np.array(op.mean or _IMAGENET_MEAN, np.float32), shape)
    std = np.reshape(np.array(op.std or _IMAGENET_STD, np.float32), shape)

    def formula(image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) * scale - mean) / std

    # All 256 results per channel, by the same float32 formula: a look-up is several times faster and equal bit for bit.
    every_value = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    table = formula(every_value) if op.order != "chw" else None

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        by_table = table is not None and image.dtype == np.uint8
        image = cv2.LUT(image, table) if by_table else formula(image)
        if op.channel_num == 4:
            zeros = np.zeros_like(np.take(image, [0], axis=channel))
            image = np.concatenate([image, zeros], axis=channel)
        return image

    return step


@STEPS.register("ToCHWImage")
def _to_chw_image(op: options.ToCHWImage) -> Step:
    return lambda image, rng: image.transpose(2, 0, 1)


_RANDOM = (options.RandCropImage, options.RandCropImageV2, options.RandFlipImage)

"""Options of the image and batch transforms, named and written as in PaddleClas YAML files.

The class has the name that the YAML uses: `{CropImage: {size: 224}}` becomes `CropImage(size=(224, 224))`. Sizes are
(width, height), which is how PaddleClas reads a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)

from ppcls_compress.config.base import Number, Options
from ppcls_compress.errors import unknown

PositiveInt = Annotated[int, Field(gt=0)]


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
"""(width, height) in pixels; one number means a square."""
Backend = Annotated[Literal["cv2", "pil"], BeforeValidator(_lower)]
"""Which library does the pixel work: OpenCV or Pillow."""
Interval = tuple[Number, Number]

INTERPOLATIONS: Mapping[str, tuple[str, ...]] = {
    "cv2": ("nearest", "bilinear", "area", "bicubic", "lanczos", "random"),
    "pil": ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming", "random"),
}
"""Interpolation names by backend; `random` draws bilinear or bicubic for every image."""


class Transform(Options):
    """Base of the per-image transforms.

    `takes` is what the transform works on: encoded `bytes`, an `hwc` image, or an image in `any` layout.
    """

    takes: ClassVar[Literal["bytes", "hwc", "any"]] = "hwc"

    @property
    def needs_uint8(self) -> bool:
        """Whether the transform refuses an image that has been normalised already."""
        return False


class DecodeImage(Transform):
    """Decodes an encoded image to uint8 with three channels.

    Attributes:
        to_rgb: red first; otherwise blue first.
        to_np: False leaves the backend's own order (Pillow: RGB, OpenCV: BGR), with `to_rgb` and
            `channel_first` off.
        channel_first: [3, H, W] instead of [H, W, 3].
        backend: OpenCV applies the EXIF orientation, Pillow does not.
    """

    takes: ClassVar = "bytes"
    to_rgb: bool = True
    to_np: bool = True
    channel_first: bool = False
    backend: Backend = "cv2"


class _Resampling(Transform):
    interpolation: Annotated[str | None, BeforeValidator(_lower)] = None
    backend: Backend = "cv2"

    @property
    def needs_uint8(self) -> bool:
        """Pillow resizes 8-bit images only."""
        return self.backend == "pil"

    @model_validator(mode="after")
    def _known_interpolation(self) -> Self:
        allowed = INTERPOLATIONS[self.backend]
        if self.interpolation is not None and self.interpolation not in allowed:
            raise ValueError(unknown(f"interpolation of backend {self.backend}", self.interpolation, allowed))
        return self


class RandCropImage(_Resampling):
    """Crops a random part of random area and aspect ratio and resizes it to `size` (the Inception crop).

    Attributes:
        size: (width, height) of the result.
        scale: smallest and largest part of the image's area, 0 < low <= high <= 1.
        ratio: smallest and largest width : height.
        interpolation: see `INTERPOLATIONS`; None is bilinear for OpenCV and bicubic for Pillow.
    """

    size: Size
    scale: Interval | None = None
    ratio: Interval | None = None

    @field_validator("scale")
    @classmethod
    def _scale_is_a_part(cls, value: Interval | None) -> Interval | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"expected [low, high] with 0 < low <= high <= 1, found {list(value)}")
        return value

    @field_validator("ratio")
    @classmethod
    def _ratio_is_an_interval(cls, value: Interval | None) -> Interval | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError(f"expected [low, high] with 0 < low <= high, found {list(value)}")
        return value


class ResizeImage(_Resampling):
    """Resizes to `size`, or so that the short side is `resize_short` pixels with the aspect ratio kept."""

    size: Size | None = None
    resize_short: PositiveInt | None = None
    return_numpy: bool = True

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.size is None) == (self.resize_short is None):
            found = "neither" if self.size is None else "both"
            raise ValueError(f"expected either size or resize_short, found {found}")
        return self


class CropImage(Transform):
    """Cuts `size` out of the centre."""

    size: Size


class RandCropImageV2(Transform):
    """Cuts `size` out at a random place, without resizing. After `Pad` this is the usual CIFAR crop."""

    size: Size


class RandomCropImage(RandCropImageV2):
    """The same as `RandCropImageV2`, under PaddleClas's other name."""


class Pad(Transform):
    """Adds `padding` pixels on all four sides.

    Attributes:
        fill: value of the new pixels, or one per channel, for `padding_mode: constant`.
        padding_mode: `reflect` leaves the border pixel single, `symmetric` repeats it.
    """

    padding: Annotated[int, Field(ge=0)]
    fill: Number | tuple[Number, Number, Number] = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"


class RandFlipImage(Transform):
    """Flips half of the images: left-right (1), upside down (0), or both at once (-1)."""

    flip_code: Literal[1, 0, -1] = 1


class NormalizeImage(Transform):
    """(image * scale - mean) / std, in float32.

    Attributes:
        scale: a number or arithmetic such as `1.0/255.0`; None is 1/255.
        mean: per channel, after scaling; None is ImageNet's.
        std: per channel, after scaling; None is ImageNet's.
        order: `chw` or `hwc` (also written as an empty string); must be the layout that the image has at this point.
        channel_num: 4 appends a channel of zeros.
        output_fp16: without effect; images stay float32.
    """

    takes: ClassVar = "any"
    scale: Number | None = None
    mean: tuple[Number, Number, Number] | None = None
    std: tuple[Number, Number, Number] | None = None
    order: Annotated[
        Literal["chw", "hwc", ""], BeforeValidator(lambda value: "" if value is None else _lower(value))
    ] = "chw"
    channel_num: Literal[3, 4] = 3
    output_fp16: bool = False

    @field_validator("std")
    @classmethod
    def _std_divides(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError(f"expected positive numbers, found {list(value)}")
        return value


class ToCHWImage(Transform):
    """[H, W, C] to [C, H, W]. A pipeline ends in [C, H, W] whether or not this is its last step."""


class BatchTransform(Options):
    """Base of the transforms of a whole batch; they turn labels into rows of class probabilities."""


class MixupOperator(BatchTransform):
    """mixup: blends every image with another of the batch, weight ~ Beta(alpha, alpha) (arXiv:1710.09412, eq. 1)."""

    alpha: Annotated[Number, Field(gt=0)] = 1.0


class CutmixOperator(BatchTransform):
    """CutMix: pastes a box of another image, area 1 - Beta(alpha, alpha) (arXiv:1905.04899, section 3.1)."""

    alpha: Annotated[Number, Field(gt=0)] = 0.2


TRANSFORMS: tuple[type[Transform], ...] = (
    DecodeImage,
    RandCropImage,
    ResizeImage,
    CropImage,
    RandCropImageV2,
    RandomCropImage,
    Pad,
    RandFlipImage,
    NormalizeImage,
    ToCHWImage,
)
BATCH_TRANSFORMS: tuple[type[BatchTransform], ...] = (MixupOperator, CutmixOperator)


def _entry_of(kind: str, classes: Sequence[type[Options]]) -> Any:
    """The type of one list entry: `{Name: {options}}`, `{Name: null}`, `Name`, or a ready options object."""
    names = [cls.__name__ for cls in classes]

    def as_mapping(value: Any) -> Any:
        if isinstance(value, tuple(classes)):
            return value
        entry = {value: None} if isinstance(value, str) else value
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ValueError(f"expected one {kind}, written {{Name: {{option: value}}}}, found {value!r}")
        (name,) = entry
        if name not in names:
            raise ValueError(unknown(kind, name, names))
        return entry

    def tag(value: Any) -> str:
        return type(value).__name__ if isinstance(value, Options) else next(iter(value))

    def options(value: Any) -> Any:
        if isinstance(value, Options):
            return value
        (inner,) = value.values()
        return {} if inner is None else inner

    members = tuple(Annotated[cls, BeforeValidator(options), Tag(cls.__name__)] for cls in classes)
    return Annotated[
        Union[members],  # noqa: UP007 - the members are a computed tuple
        Discriminator(tag),
        BeforeValidator(as_mapping),
        PlainSerializer(lambda op: {type(op).__name__: op.model_dump(mode="json", exclude_none=True)}),
    ]


def _check_order(ops: tuple[Transform, ...]) -> tuple[Transform, ...]:
    """Refuses a list whose steps cannot follow one another: decoding, layout, pixel type."""
    if not ops:
        return ops
    if not isinstance(ops[0], DecodeImage):
        raise ValueError("the first transform must be DecodeImage")
    layout = "chw" if ops[0].channel_first and ops[0].to_np else "hwc"
    normalised = False
    for number, op in enumerate(ops[1:], start=1):
        name = type(op).__name__
        if op.takes == "bytes":
            raise ValueError(f"entry {number}: the image is decoded already when it comes to {name}")
        if op.takes == "hwc" and layout == "chw":
            raise ValueError(f"entry {number}: {name} needs [H, W, C] images, an earlier entry made them [C, H, W]")
        if op.needs_uint8 and normalised:
            raise ValueError(f"entry {number}: {name} with backend pil must come before NormalizeImage")
        if isinstance(op, NormalizeImage):
            if (op.order or "hwc") != layout:
                raise ValueError(
                    f"entry {number}: NormalizeImage has order {op.order!r}, but images are {layout!r} here; "
                    f"write order: {layout}"
                )
            normalised = True
        layout = "chw" if isinstance(op, ToCHWImage) else layout
    return ops


def _sequence(value: Any) -> Any:
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, each entry written - Name: {{option: value}}; found {value!r}")
    return value or ()


TransformOps = Annotated[
    tuple[_entry_of("transform", TRANSFORMS), ...],
    BeforeValidator(_sequence),
    AfterValidator(_check_order),
]
"""The transforms of one image as written in `transform_ops` or `Infer.transforms`, in an order that can work."""

BatchTransformOps = Annotated[
    tuple[_entry_of("batch transform", BATCH_TRANSFORMS), ...],
    BeforeValidator(_sequence),
]

_TRANSFORM_OPS: TypeAdapter[tuple[Transform, ...]] = TypeAdapter(TransformOps)


def parse_transforms(ops: Sequence[object]) -> tuple[Transform, ...]:
    """Transforms from their YAML or JSON form; the inverse of `dump_transforms`.

    Raises:
        pydantic.ValidationError: an entry is unknown, has a wrong option, or stands where it cannot work.
    """
    return _TRANSFORM_OPS.validate_python(ops)


def dump_transforms(ops: Sequence[Transform]) -> list[dict[str, dict[str, Any]]]:
    """The YAML or JSON form of transforms, defaults written out."""
    return _TRANSFORM_OPS.dump_python(tuple(ops), mode="json")


INERT: Mapping[tuple[str, str], tuple[object, str]] = {
    ("ResizeImage", "return_numpy"): (True, "images are NumPy arrays between transforms in any case"),
    ("NormalizeImage", "output_fp16"): (
        False,
        "images stay float32; the AMP section chooses the type of the computation",
    ),
}
"""Upstream's options that change nothing here: (transform, option) -> (value that asks for nothing, reason)."""


def inert_options(ops: Sequence[Transform], where: str) -> Iterator[str]:
    """One line for every option that is set in vain; `where` is the key of the list, `...dataset.transform_ops`."""
    for number, op in enumerate(ops):
        for (name, option), (harmless, reason) in INERT.items():
            if type(op).__name__ == name and getattr(op, option) != harmless:
                yield f"{where}.{number}.{name}.{option} has no effect: {reason}"

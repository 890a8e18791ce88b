"""Lists of transforms as a YAML writes them, in an order that can work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter

from ppcls_compress.data.transforms import (  # noqa: F401  they declare
    blurring,
    colour,
    cropping,
    erasing,
    flipping,
    padding,
    resampling,
    rotating,
    sampling,
    values,
)
from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, TRANSFORMS, Images, Transform
from ppcls_compress.data.transforms.batch import (  # noqa: F401  they declare
    choosing,
    hybrid,
    mixing,
)
from ppcls_compress.data.transforms.decoding import DecodeImage
from ppcls_compress.data.transforms.policies import (  # noqa: F401  they declare
    augmix,
    autoaugment,
    randaugment,
    timm,
)
from ppcls_compress.declare import at_key, listed


def images_at(ops: Sequence[Transform]) -> Iterator[Images]:
    """What is known of the images before each of the transforms, and after the last."""
    images = Images()
    yield images
    for op in ops:
        images = op.after(images)
        yield images


def _check_order(ops: tuple[Transform, ...]) -> tuple[Transform, ...]:
    """Refuses a list whose steps cannot follow one another: decoding, layout, pixel type."""
    if ops and not isinstance(ops[0], DecodeImage):
        raise ValueError("the first transform must be DecodeImage")
    places = list(zip(ops, images_at(ops), strict=False))
    for number, (op, images) in enumerate(places[1:], start=1):
        name = TRANSFORMS.name_of(op)
        if op.takes == "bytes":
            raise ValueError(f"entry {number}: the image is decoded already when it comes to {name}")
        if op.takes == "hwc" and images.layout == "chw":
            raise ValueError(f"entry {number}: {name} needs [H, W, C] images, an earlier entry made them [C, H, W]")
        if op.needs_uint8 and images.changed_by:
            raise ValueError(f"entry {number}: {name} needs 8-bit pixels; it must come before {images.changed_by}")
        if (misfit := op.misfit(images)) is not None:
            key, text = misfit
            raise at_key(f"{number}.{name}.{key}", text)
    return ops


def _sequence(value: Any) -> Any:
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, each entry written - Name: {{option: value}}; found {value!r}")
    return value or ()


TransformOps = Annotated[
    tuple[listed(TRANSFORMS), ...],
    BeforeValidator(_sequence),
    AfterValidator(_check_order),
]
"""The transforms of one image as written in `transform_ops` or `Infer.transforms`, in an order that can work."""

BatchTransformOps = Annotated[tuple[listed(BATCH_TRANSFORMS), ...], BeforeValidator(_sequence)]

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


def inert_options(ops: Sequence[Transform], where: str) -> Iterator[str]:
    """One line for every option that is set in vain; `where` is the key of the list, `...dataset.transform_ops`."""
    for number, op in enumerate(ops):
        for option, reason in op.inert_options():
            yield f"{where}.{number}.{TRANSFORMS.name_of(op)}.{option} has no effect: {reason}"

"""Doubts about transforms: other values in one place than in another, values beyond reason, results left to chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.data import build_pipeline
from ppcls_compress.data.transforms import TRANSFORMS, Transform
from ppcls_compress.data.transforms.base import per_channel
from ppcls_compress.data.transforms.values import Normalize, NormalizeImage, ToTensor
from ppcls_compress.errors import UserError

_TRAIN, _EVAL = "DataLoader.Train.dataset.transform_ops", "DataLoader.Eval.dataset.transform_ops"
_PHOTOS = ((480, 640, 3), (500, 600, 3))
_ROUNDING = 1.01


def about_training(config: Config) -> Iterator[str]:
    """Training images beside validation images."""
    train = config.DataLoader.Train.dataset.transform_ops
    yield from _about_values(train, _TRAIN)
    if config.DataLoader.Eval is not None and config.DataLoader.Eval.dataset.transform_ops:
        evaluated = config.DataLoader.Eval.dataset.transform_ops
        for name in differing(train, evaluated):
            yield f"{_EVAL}: differs from {_TRAIN} in {name}; the network learns from other values than it is judged by"


def about_evaluation(config: Config) -> Iterator[str]:
    """Validation images."""
    ops = config.DataLoader.Eval.dataset.transform_ops
    yield from _about_values(ops, _EVAL)
    drawn = [TRANSFORMS.name_of(op) for op in ops if op.is_random]
    if drawn:
        yield f"{_EVAL}: {', '.join(drawn)} draw at random, so the score depends on Global.seed"


def about_inference(config: Config) -> Iterator[str]:
    """What `infer` and exported networks get: `Infer.transforms` is a list of its own."""
    ops = config.Infer.transforms if config.Infer else ()
    if not ops:
        return
    yield from _about_values(ops, "Infer.transforms")
    mode = "Eval" if config.DataLoader.Eval and config.DataLoader.Eval.dataset.transform_ops else "Train"
    split = getattr(config.DataLoader, mode)
    for name in differing(split.dataset.transform_ops, ops) if split else ():
        yield (
            f"Infer.transforms: differs from DataLoader.{mode}.dataset.transform_ops in {name}; infer and exported "
            "networks will see other values than the network was trained and evaluated on"
        )
    shape = shape_made(ops)
    if shape not in (None, config.Global.image_shape):
        yield (
            f"Infer.transforms: make images of {list(shape)}, Global.image_shape is {list(config.Global.image_shape)}; "
            f"exported networks will refuse them. For both alike: -o Global.image_shape={list(shape)}"
        )


def shape_made(ops: Sequence[Transform]) -> tuple[int, int, int] | None:
    """The one shape [C, H, W] that transforms make of photos of any size; None where there is no such."""
    shapes = {_shape_of(ops, photo) for photo in _PHOTOS}
    return shapes.pop() if len(shapes) == 1 else None


def _shape_of(ops: Sequence[Transform], photo: tuple[int, int, int]) -> tuple[int, ...] | None:
    """The shape of what becomes of a photo [H, W, 3]; None where it cannot be worked on."""
    try:
        return build_pipeline(ops)(np.zeros(photo, np.uint8)).shape
    except UserError:
        return None


def about_artifact(config: Config, preprocess: Sequence[Transform], source: str) -> Iterator[str]:
    """What an exported network was made for, beside the validation images that it is now evaluated on."""
    for name in differing(config.DataLoader.Eval.dataset.transform_ops, preprocess) if preprocess else ():
        yield f"{_EVAL}: differs from the preprocessing in {source} in {name}; the score is that of other values"


def _about_values(ops: Sequence[Transform], where: str) -> Iterator[str]:
    """Means and deviations that no pixel comes near to."""
    for number, op in enumerate(ops):
        if isinstance(op, NormalizeImage):
            scale, mean, std = op.numbers(ops[0].channels)
            largest = 255 * scale * _ROUNDING
            for key, values in (("mean", mean), ("std", std)):
                if max(values) > max(largest, 0):
                    yield (
                        f"{where}.{number}.NormalizeImage.{key}: {list(values)} is beyond the largest pixel, which is "
                        f"{255 * scale:.3g} with this scale"
                    )


def differing(expected: Sequence[Transform], found: Sequence[Transform]) -> list[str]:
    """In what two lists of transforms make other values of an image, whatever they do to its size."""
    first, second = _values(expected), _values(found)
    return [name for name in first if first[name] != second[name]]


def _values(ops: Sequence[Transform]) -> dict[str, object]:
    """What a list of transforms does to the values of an image, whatever it does to its size."""
    decode = ops[0]
    colours = "grey" if decode.channels == 1 else ("red first" if decode.red_first else "blue first")
    return {
        "colours (DecodeImage)": colours,
        "EXIF orientation (DecodeImage)": decode.exif_orientation,
        "NormalizeImage": _normalisations(ops, decode.channels),
    }


def _normalisations(ops: Sequence[Transform], channels: int) -> list[tuple[object, int]]:
    """Scale, means, deviations and number of channels of each normalisation; `ToTensor` is a scale of 1/255."""
    found, scale = [], 1.0
    for op in ops:
        if isinstance(op, ToTensor):
            scale = 1 / 255
        elif isinstance(op, Normalize):
            mean, std = (per_channel(values, channels) for values in (op.mean, op.std))
            found.append(((scale, mean, std), channels))
        elif isinstance(op, NormalizeImage):
            found.append((op.numbers(channels), op.channel_num or channels))
    return found

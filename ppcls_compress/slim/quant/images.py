"""The shape of images that a network takes, found by trying, where nobody tells it."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.position import position
from ppcls_compress.slim.quant import layers

_SIZES = (
    224,
    32,
    28,
    64,
    96,
    112,
    128,
    160,
    192,
    240,
    256,
    299,
    320,
    384,
    416,
    448,
    512,
    48,
    40,
    24,
    20,
    16,
    14,
    12,
    8,
)
"""Heights and widths of images that networks are made for, the most frequent ones first."""


def image_shape(model: nn.Layer) -> list[list[int]]:
    """`[[2, C, H, W]]` (or `[[2, H, W, C]]`) of images that the network runs on, of a usual size.

    What reads what in a network does not depend on the size, so that any size which it takes will do. A network without
    convolutions takes rows of numbers, `[[2, features]]`.

    Raises:
        UserError: it runs on none; says why.
    """
    shapes = _candidates(model)
    failures = []
    for shape in shapes:
        failure = _failure(model, describing.example([shape]))
        if failure is None:
            return [shape]
        failures.append(failure)
    tried = f"inputs such as {shapes[0]}" if shapes else "anything that its layers tell of"
    reason = f" ({failures[0]})" if failures else ""
    raise UserError(
        f"{type(model).__name__} does not run on {tried}; give the shapes that it takes as `inputs`{reason}"
    )


def _candidates(model: nn.Layer) -> list[list[int]]:
    first = next((layer for layer in model.sublayers() if isinstance(layer, nn.Conv2D)), None)
    if first is None:
        linear = [layer for layer in model.sublayers() if isinstance(layer, nn.Linear)]
        return [[2, layer.weight.shape[0]] for layer in linear[:1]]
    if first._data_format == "NHWC":
        return [[2, size, size, first._in_channels] for size in _SIZES]
    return [[2, first._in_channels, size, size] for size in _SIZES]


def _failure(model: nn.Layer, example: Sequence[object]) -> str | None:
    with layers.evaluating(model), paddle.no_grad(), position(model) as where:
        try:
            model(*example)
        except Exception as error:  # whatever the user's network raises on a shape that it does not take
            return f"{where()}: {first_line(error)}"
    return None

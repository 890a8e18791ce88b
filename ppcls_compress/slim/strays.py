"""Weights that a network computes with and that are no part of it: of layers in a plain list or dict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import CaptureError, capture
from ppcls_compress.slim.inputs import Inputs, check_layer

_logger = logging.getLogger(__name__)


def refuse_strays(model: nn.Layer, inputs: Inputs | None) -> None:
    """Refuse a network some of whose weights no state dict has: no optimizer trains them, and no file keeps them.

    `paddle.nn.Layer` finds layers and parameters that are attributes, not those in a list, tuple or dict that is one.
    What is held so but that the forward pass does not read (a teacher that is hidden on purpose) is no fault.

    Args:
        model: of any kind.
        inputs: shapes of what it takes; None where they are not known. Then, and where the forward pass cannot be
            traced, a warning of all that is held so is all that can be said.

    Raises:
        UserError: names the first such weight, and how many there are; or it is no network.
    """
    check_layer(model)
    held = {id(tensor): name for name, tensor in _held(model)}
    for _, tensor in (*model.named_parameters(), *model.named_buffers()):
        held.pop(id(tensor), None)
    if not held:
        return
    try:
        strays = None if inputs is None else {id(tensor) for tensor in capture(model, inputs).strays}
    except CaptureError:
        strays = None
    if strays is None:
        _logger.warning(
            "%s: it holds %s in a plain list or dict. What the forward pass computes with there is neither trained "
            "nor saved, and should be in %s",
            type(model).__name__,
            _named(list(held.values())),
            _CONTAINERS,
        )
    elif read := [name for known, name in held.items() if known in strays]:
        raise UserError(
            f"{type(model).__name__}: the forward pass computes with {_named(read)}, which the network does not know "
            "as its own: they would be neither trained nor saved. Layers and parameters in a plain list or dict are "
            f"not seen; hold them in {_CONTAINERS}"
        )


_CONTAINERS = "paddle.nn.LayerList, LayerDict or ParameterList"
_OF_PADDLE = frozenset({*vars(nn.Layer()), "_flat_weight"})
"""Attributes of Paddle's own layers: the last is what its recurrent ones read in place of their parameters."""


def _named(weights: list[str]) -> str:
    return f"{weights[0]} and {len(weights) - 1} more" if len(weights) > 1 else weights[0]


def _held(model: nn.Layer, seen: set[int] | None = None) -> Iterator[tuple[str, paddle.Tensor]]:
    """Trainable parameters in the plain lists, tuples and dicts that are attributes of layers, by path."""
    seen = set() if seen is None else seen
    for path, layer in model.named_sublayers(include_self=True):
        for name, value in vars(layer).items():
            if name not in _OF_PADDLE and isinstance(value, list | tuple | dict):
                yield from _within(f"{path}.{name}".lstrip("."), value, seen)


def _within(path: str, value: object, seen: set[int]) -> Iterator[tuple[str, paddle.Tensor]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Layer):
        yield from ((f"{path}.{name}", tensor) for name, tensor in value.named_parameters())
        yield from ((f"{path}.{name}", tensor) for name, tensor in _held(value, seen))
    elif isinstance(value, paddle.Tensor):
        if getattr(value, "trainable", False):
            yield path, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _within(f"{path}[{index}]", item, seen)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _within(f"{path}[{key!r}]", item, seen)

"""Weights that a network computes with and that are no part of it: of layers in a plain list or dict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import capture_or_refuse
from ppcls_compress.slim.inputs import Inputs

_logger = logging.getLogger(__name__)


def refuse_strays(model: nn.Layer, inputs: Inputs | None) -> None:
    """Refuse a network some of whose weights no state dict has: no optimizer trains them, and no file keeps them.

    `paddle.nn.Layer` finds layers and parameters that are attributes, not those in a list, tuple or dict that is one.
    What is held so but that the forward pass does not read (a teacher that is hidden on purpose) is no fault.

    Args:
        model: of any kind.
        inputs: shapes of what it takes; None where they are not known, and a warning is all that can be said.

    Raises:
        UserError: names the first such weight, and how many there are.
    """
    held = {id(tensor): name for name, tensor in _held(model)}
    for _, tensor in (*model.named_parameters(), *model.named_buffers()):
        held.pop(id(tensor), None)
    if not held:
        return
    if inputs is None:
        _logger.warning(_TOLD, type(model).__name__, "if the", _named(list(held.values())))
        return
    strays = {id(tensor) for tensor in capture_or_refuse(model, inputs).strays}
    if read := [name for known, name in held.items() if known in strays]:
        raise UserError(_TOLD % (type(model).__name__, "the", _named(read)))


_TOLD = (
    "%s: %s forward pass computes with %s, which the network does not know as its own: they would be neither trained "
    "nor saved. Layers and parameters in a plain list or dict are not seen; hold them in paddle.nn.LayerList, "
    "LayerDict or ParameterList"
)


def _named(weights: list[str]) -> str:
    return f"{weights[0]} and {len(weights) - 1} more" if len(weights) > 1 else weights[0]


def _held(model: nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
    """Trainable parameters in the plain lists, tuples and dicts that are attributes of layers, by path."""
    own = frozenset(vars(nn.Layer()))
    for path, layer in model.named_sublayers(include_self=True):
        for name, value in vars(layer).items():
            if name not in own and isinstance(value, list | tuple | dict):
                yield from _within(f"{path}.{name}".lstrip("."), value)


def _within(path: str, value: object) -> Iterator[tuple[str, paddle.Tensor]]:
    if isinstance(value, nn.Layer):
        yield from ((f"{path}.{name}", tensor) for name, tensor in value.named_parameters())
    elif isinstance(value, paddle.Tensor):
        if getattr(value, "trainable", False):
            yield path, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _within(f"{path}[{index}]", item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _within(f"{path}[{key!r}]", item)

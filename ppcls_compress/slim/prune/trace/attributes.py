"""Integer attributes of layers, as numbers that are followed while the network runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from paddle import nn

from ppcls_compress.slim.prune.trace.formula import Held
from ppcls_compress.slim.prune.trace.number import Log, Number

_SPATIAL = tuple(f"paddle.nn.layer.{name}" for name in ("conv", "pooling", "norm", "activation"))
"""Paddle's modules whose layers hold strides and the like, which count no channels, besides numbers that do."""

_OF_CHANNELS = ("channels", "groups", "features", "parameters")
"""How the names of the latter end."""

_LONGEST = 64
"""Longer sequences of numbers are data."""

_HOLDERS = (int, np.integer, list, tuple)
"""What a number may be found in: of thirty attributes that a layer has, a few are of these types."""


@dataclass(frozen=True)
class _Change:
    """An attribute that holds numbers for a while.

    Attributes:
        own: its value.
        lent: what it has instead.
        copy: of a list that is lent, to see whether the network changes it.
    """

    layer: nn.Layer
    name: str
    own: object
    lent: object
    copy: list[object] | None


@contextmanager
def followed_attributes(model: nn.Layer, log: Log) -> Iterator[None]:
    """Within it, integers that layers hold, also in lists and tuples, are numbers that tell where they are held."""
    changes = []
    for path, layer in model.named_sublayers(include_self=True):
        spatial = type(layer).__module__ in _SPATIAL
        for name, own in vars(layer).items():
            if not isinstance(own, _HOLDERS) or (spatial and not name.endswith(_OF_CHANNELS)):
                continue
            lent = _numbers(own, path, name, (), log)
            if lent is not own:
                changes.append(_Change(layer, name, own, lent, list(lent) if isinstance(lent, list) else None))
    for change in changes:
        vars(change.layer)[change.name] = change.lent
    try:
        yield
    finally:
        for change in changes:
            if vars(change.layer).get(change.name) is change.lent and change.lent == (change.copy or change.lent):
                vars(change.layer)[change.name] = change.own
        for layer in model.sublayers(include_self=True):
            for name, value in vars(layer).items():
                if isinstance(value, _HOLDERS) and (plain := _plain(value)) is not value:  # the forward pass has set it
                    vars(layer)[name] = plain


def substituted(value: object, index: tuple[int, ...], new: int) -> object:
    """An attribute's value with one of its numbers replaced; see `Held`."""
    if not index:
        return new
    items = [substituted(item, index[1:], new) if i == index[0] else item for i, item in enumerate(value)]
    return items if isinstance(value, list) else tuple(items)


def _numbers(value: object, path: str, name: str, index: tuple[int, ...], log: Log) -> object:
    """The value with its positive integers followed; itself when it has none."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return Number.of(int(value), Held(path, name, index, int(value)), log) if value > 0 else value
    if type(value) not in (list, tuple) or not 0 < len(value) <= _LONGEST:
        return value
    items = [_numbers(item, path, name, (*index, i), log) for i, item in enumerate(value)]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return type(value)(items)


def _plain(value: object) -> object:
    """The value without numbers that are followed; itself when it has none."""
    if isinstance(value, Number):
        return int(value)
    if not isinstance(value, list | tuple) or not any(isinstance(item, Number | list | tuple) for item in value):
        return value
    items = [_plain(item) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return items if isinstance(value, list) else tuple(items)

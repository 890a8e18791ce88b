"""A copy of a network, whatever else its layers hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from paddle import nn


def copied(network: nn.Layer) -> nn.Layer:
    """A copy with parameters, buffers and layers of its own.

    What a layer holds besides and Python cannot copy is in both: an open file, a module, a lock, a tensor that a
    forward pass has left there.
    """
    try:
        return copy.deepcopy(network)
    except Exception:  # whatever an object raises that does not take to it
        layers = network.sublayers(include_self=True)
        own = [item for layer in layers for item in (layer, *layer._parameters.values(), *layer._buffers.values())]
        known = {id(item): item for item in own}
        shared = (item for layer in layers for value in vars(layer).values() for item in _uncopied(value, known))
        return copy.deepcopy(network, {id(item): item for item in shared})


def _uncopied(value: object, known: dict[int, object]) -> Iterator[object]:
    """The objects in `value` that cannot be copied, not counting those `known`."""
    try:
        copy.deepcopy(value, dict(known))
    except Exception:
        if type(value) not in (list, tuple, dict):
            yield value
            return
        for item in value.values() if type(value) is dict else value:
            yield from _uncopied(item, known)

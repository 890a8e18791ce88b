"""A network put back as it was, where what changes it in several steps fails on the way."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import paddle
from paddle import nn

from ppcls_compress.slim.prune.cut.surgery import Surgery


@contextmanager
def put_back_on_failure(model: nn.Layer) -> Iterator[None]:
    """Where the block raises, whatever it is, the network is again what it was before the block.

    That is: its layers, their hooks and attributes, parameters and buffers, bit for bit, and gradients. A copy of all
    numbers is kept meanwhile, since steps train and observe in place.
    """
    before = _Before(model)
    try:
        yield
    except BaseException:
        before.put_back()
        raise


class _Before:
    """What the layers of a network hold.

    Lists, sets and dicts get their entries back in place: hooks that somebody still holds know the dict they are in.
    """

    def __init__(self, model: nn.Layer) -> None:
        layers = model.sublayers(include_self=True)
        self._held = [(layer, dict(vars(layer))) for layer in layers]
        inside = (value for _, held in self._held for value in held.values() if isinstance(value, dict | list | set))
        self._entries = [(value, copy.copy(value)) for value in {id(value): value for value in inside}.values()]
        found = (tensor for layer in layers for own in (layer._parameters, layer._buffers) for tensor in own.values())
        tensors = {id(tensor): tensor for tensor in found if tensor is not None and tensor._is_initialized()}
        self._numbers = [(t, t.detach().clone(), t.stop_gradient, _gradient(t)) for t in tensors.values()]

    def put_back(self) -> None:
        for layer, held in self._held:
            vars(layer).clear()
            vars(layer).update(held)
        for value, entries in self._entries:
            value.clear()
            value.extend(entries) if isinstance(value, list) else value.update(entries)
        surgery = Surgery()
        for tensor, numbers, stopped, gradient in self._numbers:
            surgery.replace(tensor, numbers)
            tensor.stop_gradient = stopped
            if not stopped:
                tensor.clear_gradient(set_to_zero=False)
            if gradient is not None:
                with paddle.enable_grad():  # once cleared, a gradient that is assigned is not added to any more
                    (tensor * gradient).sum().backward()


def _gradient(tensor: paddle.Tensor) -> paddle.Tensor | None:
    return None if tensor.stop_gradient or tensor.grad is None else tensor.grad.detach().clone()

"""Which layer of a network a forward pass is in, for messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import paddle

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim import inputs as describing


@contextmanager
def position(model: paddle.nn.Layer) -> Iterator[Callable[[], str]]:
    """While active, the function that is given tells which layer is under way, as `features.3 (Conv2D)`."""
    open_calls: list[str] = []
    hooks = []
    for path, layer in model.named_sublayers():
        name = f"{path} ({type(layer).__name__})"
        hooks.append(layer.register_forward_pre_hook(_Note(open_calls, name)))
        hooks.append(layer.register_forward_post_hook(_Note(open_calls, None)))
    try:
        yield lambda: open_calls[-1] if open_calls else type(model).__name__
    finally:
        for hook in hooks:
            hook.remove()


class _Note:
    """A hook that notes a call, or, without a name, its end."""

    def __init__(self, open_calls: list[str], name: str | None) -> None:
        self._open_calls = open_calls
        self._name = name

    def __call__(self, *_: object) -> None:
        if self._name is None:
            self._open_calls.pop()
        else:
            self._open_calls.append(self._name)


@contextmanager
def failures_told(model: paddle.nn.Layer, doing: str) -> Iterator[None]:
    """Whatever the network raises while it is run within becomes one line that names the layer.

    Args:
        doing: what it is run for, and on what: `calibration on a batch of [8, 3, 32, 32]`.

    Raises:
        UserError: it raised something.
    """
    with position(model) as where:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever the user's forward raises
            raise UserError(f"{doing}: {where()} fails: {first_line(error)}") from error


def first_unsteady(model: paddle.nn.Layer, run: Callable[[], object]) -> str | None:
    """The first layer that gives other numbers in a second forward pass; None for a network that gives the same.

    A network that is random outside of its layers is named itself.
    """
    first, second = (_given(model, run) for _ in range(2))
    for (name, before), (_, after) in zip(first, second, strict=False):
        same = len(before) == len(after) and all(map(_equal, before, after))
        if not same:
            return name
    return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _given(model: paddle.nn.Layer, run: Callable[[], object]) -> list[tuple[str, list[np.ndarray]]]:
    """What each layer gives, an inner one before the one around it, and then the network."""
    given: list[tuple[str, list[np.ndarray]]] = []

    def watch(name: str) -> Callable[..., None]:
        def note(_: paddle.nn.Layer, __: tuple, output: object) -> None:
            given.append((name, [tensor.numpy() for tensor in describing.tensors(output)]))

        return note

    named = model.named_sublayers()
    hooks = [layer.register_forward_post_hook(watch(f"{path} ({type(layer).__name__})")) for path, layer in named]
    try:
        output = run()
    finally:
        for hook in hooks:
            hook.remove()
    return [*given, (type(model).__name__, [tensor.numpy() for tensor in describing.tensors(output)])]

"""Tensors that a forward pass leaves in attributes of the network: `self.features = x`."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType

from paddle import nn


@contextmanager
def without_what_forward_left(model: nn.Layer) -> Iterator[None]:
    """A network as it is before its first forward pass; afterwards it holds again what it held.

    Paddle makes a buffer of a tensor that becomes an attribute. While a program is built, a later assignment to the
    attribute is then an operator that writes the buffer, and what reads the attribute no longer hangs on the inputs.
    What a forward pass reads before it assigns it is the network's memory, and stays.
    """
    taken = [
        (layer, name, layer._buffers.pop(name))
        for layer in model.sublayers(include_self=True)
        for name in _assigned(type(layer)) & layer._non_persistable_buffer_names_set & set(layer._buffers)
    ]
    try:
        yield
    finally:
        for layer, name, tensor in taken:
            vars(layer).pop(name, None)
            layer._buffers[name] = tensor


@cache
def _assigned(kind: type[nn.Layer]) -> frozenset[str]:
    """Attributes that the code of a class assigns outside of `__init__` and does not read before.

    What only another method reads, to show it after a forward pass, is no memory.
    """
    own = [base for base in kind.__mro__ if issubclass(base, nn.Layer) and not base.__module__.startswith("paddle.")]
    functions = {
        (base, name): value
        for base in own
        for name, value in vars(base).items()
        if isinstance(value, FunctionType) and name != "__init__"
    }
    assigned, remembered = set(), set()
    for (_, name), function in functions.items():
        here, before = set(), set()
        for instruction in dis.get_instructions(function):
            if instruction.opname == "STORE_ATTR":
                here.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval not in here:
                before.add(instruction.argval)
        assigned |= here
        remembered |= before if name == "forward" else before & here
    return frozenset(assigned - remembered)

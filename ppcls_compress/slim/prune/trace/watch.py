"""Following numbers through a forward pass: which size or attribute each number of the program came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import paddle
from paddle import nn
from paddle.base.framework import EagerParamBase
from paddle.pir import Value

from ppcls_compress.slim.places import is_own_code
from ppcls_compress.slim.prune.trace.attributes import followed_attributes
from ppcls_compress.slim.prune.trace.formula import Dim, Formula
from ppcls_compress.slim.prune.trace.number import Log, Number, formula_of


@dataclass(frozen=True)
class Call:
    """A call of one of Paddle's operators with numbers that are followed.

    Attributes:
        result: the id of the value it returned, or of the first one.
        given: each integer, or list of integers, among its arguments that is followed, with the formulas.
    """

    result: str
    given: tuple[tuple[list[int], list[Formula]], ...]


@dataclass
class Watch:
    """What was seen during a forward pass.

    Attributes:
        prefix: what the ids of values are written with.
    """

    log: Log
    prefix: str = ""
    calls: list[Call] = field(default_factory=list)


@contextmanager
def watched(model: nn.Layer, prefix: str = "") -> Iterator[Watch]:
    """Within it, what `model` reads of sizes and integer attributes is followed into operators; then all is undone."""
    watch = Watch(Log(), prefix)
    operators = {name: call for name, call in vars(paddle._C_ops).items() if callable(call) and name[0] != "_"}
    with (
        _replaced(Value, "shape", _shape_of(Value.shape.fget, lambda value: f"{prefix}{value.id}", watch.log)),
        _replaced(EagerParamBase, "shape", _shape_of(paddle.Tensor.shape.__get__, lambda own: own.name, watch.log)),
        _replaced(Value, "__getitem__", _plain_index(Value.__getitem__)),
        _replaced(Value, "__setitem__", _plain_index(Value.__setitem__)),
        followed_attributes(model, watch.log),
    ):
        try:
            vars(paddle._C_ops).update({name: _noting(watch, call) for name, call in operators.items()})
            yield watch
        finally:
            watch.log.open = False
            vars(paddle._C_ops).update(operators)


@contextmanager
def _replaced(kind: type, name: str, value: object) -> Iterator[None]:
    own = vars(kind).get(name)
    setattr(kind, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(kind, name)
        else:
            setattr(kind, name, own)


class _Shape(list):
    """A tensor's shape that notes which of its entries are taken."""

    note: Callable[[int], None]

    def __getitem__(self, index: int | slice) -> object:
        for axis in range(len(self))[index] if isinstance(index, slice) else [index % len(self)]:
            self.note(axis)
        return list.__getitem__(self, index)

    def __iter__(self) -> Iterator[int]:
        for axis in range(len(self)):
            self.note(axis)
        return list.__iter__(self)

    def numel(self) -> int:
        """The product of the sizes, as Paddle's own type has it."""
        total = 1
        for size in self:
            total = total * size
        return total


def _shape_of(plain: Callable[[object], list[int]], name_of: Callable[[object], str], log: Log) -> property:
    def shape(self: object) -> list[int]:
        sizes = plain(self)
        if not log.open:
            return sizes
        name = name_of(self)
        numbers = [
            Number.of(size, Dim(name, axis, size), log) if size >= 0 else size for axis, size in enumerate(sizes)
        ]
        if not is_own_code(sys._getframe(1).f_code.co_filename):
            return type(sizes)(numbers)
        found = _Shape(numbers)
        found.note = lambda axis: log.read.add(Dim(name, axis, sizes[axis]))
        return found

    return property(shape)


def _plain_index(plain: Callable[..., object]) -> Callable[..., object]:
    """Paddle takes single positions for what they are only if they are `int` itself."""

    def method(self: Value, index: object, *rest: object) -> object:
        if isinstance(index, tuple):
            index = tuple(int(item) if isinstance(item, Number) else item for item in index)
        elif isinstance(index, Number):
            index = int(index)
        return plain(self, index, *rest)

    return method


def _noting(watch: Watch, call: Callable[..., object]) -> Callable[..., object]:
    def operator(*arguments: object, **named: object) -> object:
        if not any(_is_followed(argument) for argument in (*arguments, *named.values())):
            return call(*arguments, **named)
        result = call(*arguments, **named)
        first = result[0] if isinstance(result, list | tuple) and result else result
        if isinstance(first, Value):
            given = tuple(_given(argument) for argument in (*arguments, *named.values()) if _is_followed(argument))
            watch.calls.append(Call(f"{watch.prefix}{first.id}", given))
        return result

    return operator


def _is_followed(argument: object) -> bool:
    if isinstance(argument, list | tuple):
        return any(type(item) is Number for item in argument) and all(isinstance(item, int) for item in argument)
    return type(argument) is Number


def _given(argument: int | list[int] | tuple[int, ...]) -> tuple[list[int], list[Formula]]:
    items = argument if isinstance(argument, list | tuple) else [argument]
    return [int.__int__(item) for item in items], [formula_of(item) for item in items]

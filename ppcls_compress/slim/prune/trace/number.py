"""Whole numbers that remember how they were computed, for one forward pass.

What a network writes into its code and what it computes from the sizes of its tensors are the same numbers in the
traced program. So while it is traced, the sizes and the integer attributes that it reads are numbers of this kind; they
behave like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path

import paddle

from ppcls_compress.slim.prune.trace.formula import Dim, Formula, Leaf, Operation, evaluate, leaves

_PADDLE = str(Path(paddle.__file__).parent)
_NETWORKS = str(Path(_PADDLE) / "vision" / "models")
_OURS = str(Path(__file__).parents[2])

_COMPARISONS = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


@dataclass(frozen=True)
class Guard:
    """A comparison that the network's own code has made.

    Attributes:
        sign: `==`, `<` ..., or `bool` for whether `left` is not zero.
        place: file and line.
    """

    sign: str
    left: Formula
    right: Formula
    outcome: bool
    place: str

    @property
    def leaves(self) -> frozenset[Leaf]:
        """The sizes and attributes that it is about."""
        return leaves(self.left) | leaves(self.right)

    def holds(self, value: Callable[[Leaf], int]) -> bool:
        """Whether it comes out the same when the sizes and attributes have other values."""
        try:
            left, right = evaluate(self.left, value), evaluate(self.right, value)
        except ZeroDivisionError:
            return False
        return (bool(left) if self.sign == "bool" else _COMPARISONS[self.sign](left, right)) == self.outcome


@dataclass(frozen=True)
class Loss:
    """A number that went where it cannot be followed, into a float or through `int`.

    Attributes:
        formula: what it is rounded down, as far as that is known.
        value: in the dense network.
    """

    formula: Formula
    value: int


@dataclass
class Log:
    """What is noticed about the numbers of one forward pass.

    Attributes:
        read: the sizes that the network's own code has looked at.
        open: whether the forward pass is still running; numbers that outlive it are ordinary ones.
    """

    guards: list[Guard] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    read: set[Dim] = field(default_factory=set)
    open: bool = True


@cache
def is_own_code(file: str) -> bool:
    """Whether this is code of a network, and not Paddle's or that of the tracer."""
    if file.startswith(_NETWORKS):
        return True
    return not file.startswith((_PADDLE, _OURS, "<frozen"))


class Number(int):
    """An integer with its formula. Arithmetic with integers gives further ones.

    Attributes:
        formula: how it is computed.
        log: of the forward pass that it belongs to.
    """

    formula: Formula
    log: Log

    @classmethod
    def of(cls, value: int, formula: Formula, log: Log) -> int:
        """The number, or a plain integer when there is nothing to remember."""
        if not log.open or isinstance(formula, int):
            return int(value)
        made = cls(value)
        made.formula, made.log = formula, log
        return made

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Copies and pickles are plain integers."""
        return int, (int.__int__(self),)

    def __int__(self) -> int:
        self._lose(self.formula, int.__int__(self))
        return int.__int__(self)

    def __index__(self) -> int:
        return int.__int__(self)

    def __float__(self) -> float:
        self._lose(self.formula, int.__int__(self))
        return int.__float__(self)

    def __neg__(self) -> int:
        return Number.of(int.__neg__(self), Operation("-", 0, self.formula), self.log)

    def __pos__(self) -> int:
        return self

    def __abs__(self) -> int:
        return self if self >= 0 else -self

    def __floor__(self) -> int:
        return self

    __ceil__ = __trunc__ = __floor__

    def __round__(self, digits: int | None = None) -> int:
        return self if digits is None or digits >= 0 else int.__round__(self, digits)

    def __truediv__(self, other: object) -> float:
        if isinstance(other, int) and other:
            self._lose(Operation("//", self.formula, formula_of(other)), int.__floordiv__(self, other))
        return int.__truediv__(self, other)

    def __rtruediv__(self, other: object) -> float:
        if isinstance(other, int) and self:
            self._lose(Operation("//", formula_of(other), self.formula), int.__floordiv__(int(other), self))
        return int.__rtruediv__(self, other)

    def __divmod__(self, other: object) -> tuple[object, object]:
        return self // other, self % other

    def __rdivmod__(self, other: object) -> tuple[object, object]:
        return other // self, other % self

    def __rshift__(self, other: int) -> int:
        return self // (1 << int(other))

    def __lshift__(self, other: int) -> int:
        return self * (1 << int(other))

    def __pow__(self, other: object, modulo: object = None) -> object:
        if other == 2 and isinstance(other, int) and modulo is None:
            return self * self
        self._lose(self.formula, int.__int__(self))
        return int.__pow__(self, other, modulo) if modulo is not None else int.__pow__(self, other)

    def __bool__(self) -> bool:
        outcome = int.__bool__(self)
        self._guard("bool", 0, outcome, sys._getframe(1))
        return outcome

    __hash__ = int.__hash__

    def _lose(self, formula: Formula, value: int) -> None:
        if self.log.open:
            self.log.losses.append(Loss(formula, value))

    def _guard(self, sign: str, right: Formula, outcome: bool, frame: object) -> None:
        if self.log.open and is_own_code(frame.f_code.co_filename):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            self.log.guards.append(Guard(sign, self.formula, right, outcome, place))


def formula_of(value: int) -> Formula:
    """That of a number, or the integer itself."""
    return value.formula if isinstance(value, Number) else int(value)


def _times(number: Number, factor: float) -> None:
    """A product with a float, as `int(0.5 * channels)`, may come back as what it is rounded down."""
    share = Fraction(factor).limit_denominator(1 << 10) if factor == factor and abs(factor) < 1 << 20 else Fraction(0)
    if share > 0 and float(share) == factor:
        product = Operation("*", number.formula, share.numerator)
        number._lose(Operation("//", product, share.denominator), int(int.__int__(number) * factor))
    else:
        number._lose(number.formula, int.__int__(number))


def _operator(sign: str, name: str, *, swapped: bool) -> Callable[[Number, object], object]:
    plain = getattr(int, name)

    def method(self: Number, other: object) -> object:
        result = plain(self, other)
        if result is NotImplemented:
            if isinstance(other, float):
                if sign == "*":
                    _times(self, other)
                else:
                    self._lose(self.formula, int.__int__(self))
            return result
        pair = (formula_of(other), self.formula) if swapped else (self.formula, formula_of(other))
        return Number.of(result, Operation(sign, *pair), self.log)

    method.__name__ = name
    return method


def _comparison(sign: str, name: str) -> Callable[[Number, object], object]:
    plain = getattr(int, name)

    def method(self: Number, other: object) -> object:
        outcome = plain(self, other)
        if outcome is not NotImplemented and other is not self:
            self._guard(sign, formula_of(other), outcome, sys._getframe(1))
        return outcome

    method.__name__ = name
    return method


for _sign, _name in (("+", "add"), ("-", "sub"), ("*", "mul"), ("//", "floordiv"), ("%", "mod")):
    setattr(Number, f"__{_name}__", _operator(_sign, f"__{_name}__", swapped=False))
    setattr(Number, f"__r{_name}__", _operator(_sign, f"__r{_name}__", swapped=True))
for _sign, _name in (("==", "eq"), ("!=", "ne"), ("<", "lt"), ("<=", "le"), (">", "gt"), (">=", "ge")):
    setattr(Number, f"__{_name}__", _comparison(_sign, f"__{_name}__"))

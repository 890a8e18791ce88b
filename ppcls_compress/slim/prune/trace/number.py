"""Whole numbers that remember how they were computed, for one forward pass.

What a network writes into its code and what it computes from the sizes of its tensors are the same numbers in the
traced program. So while it is traced, the sizes and the integer attributes that it reads are numbers of this kind; they
behave like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, isfinite
from operator import eq, ge, gt, le, lt, ne

from ppcls_compress.slim.places import is_own_code, place_of
from ppcls_compress.slim.prune.trace.formula import Dim, Formula, Leaf, Operation, evaluate, leaves

_LARGEST = 1 << 10
"""Denominator of a factor that still counts as a fraction."""

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


def together(logs: Sequence[Log]) -> Log:
    """What was noticed in several forward passes, which are over."""
    guards, losses = ([entry for log in logs for entry in getattr(log, name)] for name in ("guards", "losses"))
    return Log(guards, losses, set().union(*(log.read for log in logs)), open=False)


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

    def __truediv__(self, other: object) -> object:
        quotient = int.__truediv__(self, other)
        return quotient if quotient is NotImplemented else Share.of(quotient, self.formula, formula_of(other), self.log)

    def __rtruediv__(self, other: object) -> object:
        quotient = int.__rtruediv__(self, other)
        return quotient if quotient is NotImplemented else Share.of(quotient, formula_of(other), self.formula, self.log)

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
            self.log.guards.append(Guard(sign, self.formula, right, outcome, place_of(frame)))


def formula_of(value: int) -> Formula:
    """That of a number, or the integer itself."""
    return value.formula if isinstance(value, Number) else int(value)


class Share(float):
    """A quotient of numbers, as `int(channels * 0.5)` has it on the way: what it is rounded down is noted as lost.

    Attributes:
        above, below: numerator and denominator.
        log: of the forward pass that it belongs to.
    """

    above: Formula
    below: Formula
    log: Log

    @classmethod
    def of(cls, value: float, above: Formula, below: Formula, log: Log) -> float:
        """The quotient, a plain float once the forward pass is over."""
        if not log.open:
            return float(value)
        made = cls(value)
        made.above, made.below, made.log = above, below, log
        log.losses.append(Loss(Operation("//", above, below), floor(value)))
        return made

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Copies and pickles are plain floats."""
        return float, (float.__float__(self),)

    def __mul__(self, other: object) -> object:
        product, factor = float.__mul__(self, other), _fraction(other)
        if factor is None:
            return product
        above, below = _product(self.above, factor[0]), _product(self.below, factor[1])
        return Share.of(product, above, below, self.log)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> object:
        quotient, factor = float.__truediv__(self, other), _fraction(other)
        if factor is None:
            return quotient
        above, below = _product(self.above, factor[1]), _product(self.below, factor[0])
        return Share.of(quotient, above, below, self.log)

    def __floor__(self) -> int:
        return Number.of(float.__floor__(self), Operation("//", self.above, self.below), self.log)

    def __ceil__(self) -> int:
        negative = Operation("//", Operation("-", 0, self.above), self.below)
        return Number.of(float.__ceil__(self), Operation("-", 0, negative), self.log)

    def __round__(self, digits: int | None = None) -> float:
        return self.__floor__() if digits is None and self.is_integer() else float.__round__(self, digits)


def _product(left: Formula, right: Formula) -> Formula:
    return left if right == 1 else right if left == 1 else Operation("*", left, right)


def _fraction(factor: object) -> tuple[Formula, Formula] | None:
    """Numerator and denominator of a factor; None where it is none, or no simple one."""
    if isinstance(factor, Share):
        return factor.above, factor.below
    if isinstance(factor, int):
        return formula_of(factor), 1
    if not isinstance(factor, float) or not isfinite(factor):
        return None
    found = Fraction(factor).limit_denominator(_LARGEST)
    return (found.numerator, found.denominator) if found > 0 and float(found) == factor else None


def _operator(sign: str, name: str, *, swapped: bool) -> Callable[[Number, object], object]:
    plain = getattr(int, name)

    def method(self: Number, other: object) -> object:
        result = plain(self, other)
        if result is NotImplemented:
            if not isinstance(other, float):
                return result
            if sign == "*" and (factor := _fraction(other)) is not None:
                return Share.of(float.__mul__(other, self), _product(self.formula, factor[0]), factor[1], self.log)
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

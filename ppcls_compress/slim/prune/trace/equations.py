"""What the numbers of a network say about its channels, whatever is removed.

A number that counts channels has to be their number afterwards. What it is computed from is known: sizes of tensors,
which follow; attributes of layers, which can be given new values; and constants, which cannot change. So each number is
an equation between counts of channels. What it takes for an equation to hold for every choice of channels is that some
are removed alike, as both halves of `x[:, : x.shape[1] // 2]`, or stay, as the 7 of `x[:, :7]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ppcls_compress.slim.prune.trace.context import Size, Tracing
from ppcls_compress.slim.prune.trace.count import Classes, Count, Opaque
from ppcls_compress.slim.prune.trace.declared import declared
from ppcls_compress.slim.prune.trace.formula import Formula, Held, Leaf, Operation, evaluate, leaves
from ppcls_compress.slim.prune.trace.labels import Labels, Pin
from ppcls_compress.slim.prune.trace.number import Guard
from ppcls_compress.slim.prune.trace.sources import Entry

_DECLARED = Pin("", "the layer declares how many there are")


@dataclass(frozen=True)
class Equation:
    """A number that must come out right.

    Attributes:
        formula: how it is computed.
        wanted: what it counts.
        pin: why channels stay that it could not follow.
        defines: whether an attribute may be given the value that makes it come out right.
    """

    formula: Formula
    wanted: Count
    pin: Pin
    defines: bool = True


@dataclass
class Terms:
    """Sizes and attributes as counts of channels.

    Attributes:
        held: the attributes that follow from what they count.
    """

    tracing: Tracing
    held: dict[Held, Count] = field(default_factory=dict)

    def of(self, leaf: Leaf) -> Count | None:
        """None for an attribute of which nothing is known (yet)."""
        if isinstance(leaf, Held):
            return self.held.get(leaf)
        labels = self.tracing.along(leaf.tensor, leaf.axis)
        return Count(number=leaf.value) if labels is None else Count(labels)

    def value(self, leaf: Leaf, keep: np.ndarray) -> int:
        """The number once only these labels are left."""
        count = self.of(leaf)
        return leaf.value if count is None else count.left(keep)

    def result(self, formula: Formula, keep: np.ndarray) -> int:
        """The number that a formula gives once only these labels are left.

        Raises:
            ZeroDivisionError: it then divides by zero.
        """
        return evaluate(formula, lambda leaf: self.value(leaf, keep))

    def holds(self, equation: Equation, keep: np.ndarray) -> bool:
        """Whether the number comes out right once only these labels are left; of a divisor some always are."""
        try:
            return self.result(equation.formula, keep) == equation.wanted.left(keep)
        except ZeroDivisionError:
            return True

    def labels(self, equation: Equation) -> Labels:
        """All that an equation is about."""
        counts = [equation.wanted, *(self.of(leaf) for leaf in leaves(equation.formula))]
        return np.concatenate([count.labels for count in counts if count is not None])


class Solver:
    """Goes through equations under what is known of the channels, and collects what else they need.

    Attributes:
        terms: what the attributes are found to count.
        pairs: labels that have to be removed alike.
        pins: labels that have to stay, and why.
    """

    def __init__(self, tracing: Tracing, classes: Classes) -> None:
        self.terms = Terms(tracing)
        self.classes = classes
        self.pairs: list[tuple[Labels, Labels]] = []
        self.pins: list[tuple[Labels, Pin]] = []
        self._fixed: set[Held] = set()

    def solve(self, equations: Sequence[Equation]) -> None:
        """An attribute is what an equation asks of it, the simplest first; one that none asks anything of stays."""
        defining = sorted((e for e in equations if e.defines), key=lambda e: not isinstance(e.formula, Held))
        left = [equation for equation in equations if not equation.defines]
        count = None
        while defining:
            count, defining = len(defining), [equation for equation in defining if not self._define(equation)]
            if len(defining) == count and not self._fix_one(defining):
                break
        for equation in [*defining, *left]:
            self._impose(equation)

    def _fix_one(self, equations: list[Equation]) -> bool:
        """Of attributes that count channels only together, as `self.width * self.times`, the smaller ones stay."""
        for equation in equations:
            unknown = self._unknown(equation.formula)
            if len(unknown) > 1 and self.classes.number(equation.wanted) is None:
                self._fixed.add(min(unknown, key=lambda held: (held.value, held.layer, held.name, held.index)))
                return True
        return False

    def _unknown(self, formula: Formula) -> set[Held]:
        found = {leaf for leaf in leaves(formula) if isinstance(leaf, Held)}
        return found - self.terms.held.keys() - self._fixed

    def _impose(self, equation: Equation) -> None:
        try:
            difference = self.classes.simple(self._count(equation.formula) + -equation.wanted)
        except Opaque:
            self.pins.append((self.terms.labels(equation), equation.pin))
            return
        more, less = difference.plus, difference.minus
        if len(more) != len(less):
            self.pins.append((np.concatenate([more, less]), equation.pin))
        elif len(more):
            self.pairs.append((more, less))

    def _count(self, formula: Formula) -> Count:
        """What a formula counts.

        Raises:
            Opaque: it is no count.
        """
        if isinstance(formula, int):
            return Count(number=formula)
        if not isinstance(formula, Operation):
            found = self.terms.of(formula)
            return Count(number=formula.value) if found is None else found
        left, right = self._count(formula.left), self._count(formula.right)
        if formula.sign in "+-":
            return left + (right if formula.sign == "+" else -right)
        factor = self.classes.number(right)
        if formula.sign == "*":
            if factor is None:
                left, factor = right, self.classes.number(left)
            if factor is None:
                raise Opaque
            return left.times(factor)
        return self._divided(left, right, factor, formula.sign)

    def _divided(self, left: Count, right: Count, divisor: int | None, sign: str) -> Count:
        number = self.classes.number(left)
        if number is not None and divisor:
            return Count(number=number // divisor if sign == "//" else number % divisor)
        if divisor is None:
            times = self.classes.ratio(left, right)
            if times is None:
                raise Opaque
            return Count(number=times if sign == "//" else 0)
        quotient, rows = self.classes.divided(left, divisor)
        self._alike(rows)
        return quotient if sign == "//" else Count(number=self.classes.simple(left).number % divisor)

    def _alike(self, rows: Labels | None) -> None:
        if rows is not None:
            self.pairs.append((np.broadcast_to(rows[0], rows.shape), rows))

    def _define(self, equation: Equation) -> bool:
        """Whether the equation is done with: it gave an attribute its count."""
        unknown = self._unknown(equation.formula)
        if len(unknown) != 1:
            return False
        try:
            found = self.classes.simple(self._asked(equation.formula, equation.wanted))
        except Opaque:
            return False
        if len(found.minus) or not len(found.plus):
            return False
        self.terms.held[unknown.pop()] = found
        return True

    def _asked(self, formula: Formula, wanted: Count) -> Count:
        """What the one unknown attribute of a formula must count.

        Raises:
            Opaque: that is not to be had.
        """
        if not isinstance(formula, Operation):
            return wanted
        left = bool(self._unknown(formula.left))
        if left and self._unknown(formula.right):
            raise Opaque  # it is on both sides
        known, side = (formula.right, formula.left) if left else (formula.left, formula.right)
        return self._asked(side, self._inverse(formula, self._count(known), wanted, left=left))

    def _inverse(self, formula: Operation, known: Count, wanted: Count, *, left: bool) -> Count:
        """What one side must count, when the other side and the result are these.

        Raises:
            Opaque: that is not to be had.
        """
        if formula.sign == "+":
            return wanted + -known
        if formula.sign == "-":
            return wanted + known if left else known + -wanted
        number = self.classes.number(known)
        if number is None or number < 1:
            raise Opaque
        if formula.sign == "*":
            quotient, rows = self.classes.divided(wanted, number)
            self._alike(rows)
            return quotient
        if formula.sign == "//" and left:
            rest = evaluate(formula.left, lambda leaf: leaf.value) % number
            return wanted.times(number) + Count(number=rest)
        raise Opaque


def equations_of(tracing: Tracing, sizes: Sequence[Size]) -> list[Equation]:
    """Those of the numbers that count channels, of comparisons that come out equal, and of all other numbers."""
    sources = tracing.sources
    own = [Equation(held, Count(labels), _DECLARED) for held, labels in declared(tracing, sources.attributes)]
    counted = [equation for size in sizes if (equation := _of_size(tracing, size)) is not None]
    equal = [_of_guard(guard) for guard in sources.log.guards if guard.sign in ("==", "!=") and _is_equal(guard)]
    covered = {sources.key(size.op, *size.slot) for size in sizes}
    others = [_of_other(entry) for key, entry in sources.numbers.items() if key not in covered]
    return [*own, *counted, *equal, *others]


def _is_equal(guard: Guard) -> bool:
    return guard.outcome == (guard.sign == "==")


def _of_guard(guard: Guard) -> Equation:
    pin = Pin("==", f"the code compares how many there are ({guard.place})")
    return Equation(Operation("-", guard.left, guard.right), Count(), pin)


def _of_other(entry: Entry) -> Equation:
    """It counts no channels, so it has to stay what it is."""
    pin = Pin(entry.op.name, f"{entry.value} is computed from how many there are")
    return Equation(entry.formula, Count(number=entry.value), pin, defines=False)


def _of_size(tracing: Tracing, size: Size) -> Equation | None:
    written = tracing.written(size)
    formula = tracing.sources.at(size.op, *size.slot)
    if formula is None:
        formula = tracing.sources.guess(written)
    pin = Pin(size.op.name, _reason(formula, size))
    if size.whole is None:
        return Equation(formula, Count(size.counted), pin) if written > 0 else None
    if written < 0:
        rest = size.whole[len(size.counted) :]
        negative = -formula if isinstance(formula, int) else Operation("-", 0, formula)
        return Equation(negative, Count(rest), pin) if len(rest) == -written else None
    if written > len(size.whole) or (isinstance(formula, int) and written in (0, len(size.whole))):
        return None  # a bound at or past an end
    return Equation(formula, Count(size.counted), pin)


def _reason(formula: Formula, size: Size) -> str:
    if isinstance(formula, int):
        return f"{size.value} is written into the code"
    return f"{size.value} is computed in a way that cannot follow what is removed"

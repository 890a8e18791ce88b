"""How a number of the forward pass is computed: from the sizes of tensors, from layers' attributes, from constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from operator import add, floordiv, mod, mul, sub


@dataclass(frozen=True)
class Dim:
    """The length of a tensor's axis.

    Attributes:
        tensor: a value's id, or Paddle's name of a parameter.
        axis: not negative.
        value: the length in the network as it was traced.
    """

    tensor: str
    axis: int
    value: int = field(compare=False)


@dataclass(frozen=True)
class Held:
    """A number that a layer holds in an attribute.

    Attributes:
        layer: path of the layer.
        name: of the attribute.
        index: where in its list or tuple, outermost first; empty for a plain number.
        value: the number when the network was traced.
    """

    layer: str
    name: str
    index: tuple[int, ...]
    value: int = field(compare=False)


@dataclass(frozen=True)
class Operation:
    """`+ - * // %` of whole numbers."""

    sign: str
    left: Formula
    right: Formula

    @cached_property
    def leaves(self) -> frozenset[Dim | Held]:
        """The sizes and attributes that go into it."""
        return leaves(self.left) | leaves(self.right)


Leaf = Dim | Held
Formula = int | Dim | Held | Operation

_OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "//": floordiv, "%": mod}


def leaves(formula: Formula) -> frozenset[Leaf]:
    """The sizes and attributes that go into a formula."""
    if isinstance(formula, Operation):
        return formula.leaves
    return frozenset() if isinstance(formula, int) else frozenset((formula,))


def evaluate(formula: Formula, value: Callable[[Leaf], int]) -> int:
    """The number that a formula gives.

    Raises:
        ZeroDivisionError: it divides by zero.
    """
    if isinstance(formula, Operation):
        return _OPERATIONS[formula.sign](evaluate(formula.left, value), evaluate(formula.right, value))
    return formula if isinstance(formula, int) else value(formula)

"""Numbers written as arithmetic, such as `1.0/255.0`: parsed, never evaluated as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_MAX_LENGTH = 100


def parse_number(text: str) -> float | int:
    """The value of a number or of `+ - * /` and parentheses over numbers.

    Raises:
        ValueError: the text is anything else, divides by zero, or is longer than 100 characters.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"expected a number, found a text of {len(text)} characters")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero") from None
    except (SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is not a number") from None


def _value(node: ast.expr) -> float | int:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    raise TypeError

"""Networks that take another path in training: both are traced, one after the other, as one list of operators."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import CodeType, FunctionType

from paddle import nn

from ppcls_compress.slim.graph import Graph, Op

PREFIX = "training:"
"""Of the ids of values that a training run computes."""

_PASSED_OVER = ("UNARY_NOT", "TO_BOOL", "CACHE", "NOP", "LOAD_CONST")
_DECIDING = ("STORE", "COMPARE_OP", "IS_OP", "CONTAINS_OP", "BINARY_SUBSCR")


def branches_on_training(layers: Iterable[nn.Layer]) -> bool:
    """Whether the code of a layer, other than Paddle's own, asks whether it is training.

    Handing it on, as to a dropout, is not meant.
    """
    kinds = {kind for layer in layers for kind in type(layer).__mro__ if issubclass(kind, nn.Layer)}
    own = [kind for kind in kinds if not kind.__module__.startswith(("paddle.nn.", "paddle.base."))]
    functions = [value for kind in own for value in vars(kind).values() if isinstance(value, FunctionType)]
    return any(_asks(code) for function in functions for code in _codes(function.__code__))


def _codes(code: CodeType) -> Iterator[CodeType]:
    """That of a function and of those within it, where they name the flag."""
    if "training" in code.co_names:
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _asks(code: CodeType) -> bool:
    """Whether the flag is read and then jumped on, compared or kept, not just an argument."""
    read = False
    for instruction in dis.get_instructions(code):
        if read and instruction.opname not in _PASSED_OVER:
            if "JUMP" in instruction.opname or instruction.opname.startswith(_DECIDING):
                return True
            read = False
        if instruction.opname.startswith("LOAD_ATTR") and instruction.argval == "training":
            read = True
    return False


def joined(evaluation: Graph, training: Graph, order: Iterable[str]) -> Graph:
    """The operators of both, those of the training run behind and with ids of their own; parameters have one id.

    Args:
        order: names of all parameters and buffers as the network registers them.
    """
    known = {name: value for value, name in evaluation.parameters.items()}

    def renamed(value: str) -> str:
        return known.get(training.parameters.get(value), PREFIX + value)

    first = 1 + max((op.index for op in evaluation.ops), default=-1)
    ops = [_moved(op, first, renamed) for op in training.ops]
    tensors = {**training.tensors, **evaluation.tensors}
    return Graph(
        ops=[*evaluation.ops, *ops],
        shapes={**{renamed(value): shape for value, shape in training.shapes.items()}, **evaluation.shapes},
        makers={**evaluation.makers, **{output: op for op in ops for output in op.outputs}},
        parameters={**{renamed(value): name for value, name in training.parameters.items()}, **evaluation.parameters},
        tensors={name: tensors[name] for name in order if name in tensors},
        outputs=[*evaluation.outputs, *map(renamed, training.outputs)],
    )


def _moved(op: Op, first: int, renamed: Callable[[str], str]) -> Op:
    inputs = tuple(
        tuple(map(renamed, item)) if isinstance(item, tuple) else item if item is None else renamed(item)
        for item in op.inputs
    )
    return replace(op, index=op.index + first, inputs=inputs, outputs=tuple(map(renamed, op.outputs)))

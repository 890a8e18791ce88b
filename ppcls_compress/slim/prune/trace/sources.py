"""Where each number of a traced program came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ppcls_compress.slim.graph import Graph, Op
from ppcls_compress.slim.prune.trace.formula import Formula, Held, leaves
from ppcls_compress.slim.prune.trace.number import together
from ppcls_compress.slim.prune.trace.watch import Call, Watch

_CONSTANTS = ("full", "full_int_array")

Key = tuple[str | int, str, int]
"""A constant's value id, or an operator's index and the name of its attribute; and the index in it."""


@dataclass(frozen=True)
class Entry:
    """A number of the program that was followed.

    Attributes:
        op: the operator that works with it.
    """

    op: Op
    formula: Formula
    value: int


class Sources:
    """The formulas of the numbers of a program.

    Attributes:
        numbers: those that were followed and are no constants.
        log: what the network did with its numbers besides.
    """

    def __init__(self, graph: Graph, *watches: Watch) -> None:
        self.numbers: dict[Key, Entry] = {}
        self.log = together([watch.log for watch in watches])
        self._graph = graph
        for call in (call for watch in watches for call in watch.calls):
            if call.result in graph.makers:
                self._match(call, graph.makers[call.result])

    def _match(self, call: Call, op: Op) -> None:
        """Finds the arguments of a call in the operator that it made: its attributes, and constants that it reads."""
        read = [self._graph.makers.get(value) for value in op.inputs if isinstance(value, str)]
        free = [slot for maker in [*read, op] if maker is not None for slot in _slots(maker, maker is op)]
        for values, formulas in call.given:
            found = next((slot for slot in free if slot[1] == values), None)
            if found is not None:
                free.remove(found)
                (owner, name), _ = found
                for index, (value, formula) in enumerate(zip(values, formulas, strict=True)):
                    if not isinstance(formula, int):
                        self.numbers[owner, name, index] = Entry(op, formula, value)

    @cached_property
    def attributes(self) -> set[Held]:
        """The layers' attributes that any formula or comparison looks at."""
        formulas = [number.formula for number in self.numbers.values()]
        formulas += [side for guard in self.log.guards for side in (guard.left, guard.right)]
        return {leaf for formula in formulas for leaf in leaves(formula) if isinstance(leaf, Held)}

    def key(self, op: Op, where: int | str, index: int | None) -> Key:
        """Of one of an operator's numbers; see `Size.slot`."""
        if isinstance(where, str):
            return op.index, where, index or 0
        value, index = op.inputs[where], index or 0
        maker = self._graph.makers.get(value)
        if maker is not None and maker.name in ("stack", "concat"):  # of one number each
            return maker.inputs[0][index], "value", 0
        return value, "value", index

    def at(self, op: Op, where: int | str, index: int | None) -> Formula | None:
        """The formula of one of an operator's numbers; None where none was followed."""
        found = self.numbers.get(self.key(op, where, index))
        return None if found is None else found.formula

    def guess(self, value: int) -> Formula:
        """What a number may be computed from that was lost on its way to an operator; itself if from nothing."""
        return self._lost.get(value, value)

    @cached_property
    def _lost(self) -> dict[int, Formula]:
        """Number -> the formula that gave it last before it could not be followed."""
        return {loss.value: loss.formula for loss in self.log.losses}


def _slots(op: Op, attributes: bool) -> Iterator[tuple[tuple[str | int, str], list[int]]]:
    """The places of an operator where integers of a call may be, and the integers."""
    if op.name in _CONSTANTS and not op.inputs:
        value = op.attrs["value"]
        items = value if isinstance(value, list) else [value]
        if all(float(item).is_integer() for item in items):
            yield (op.outputs[0], "value"), [int(item) for item in items]
    for name, value in op.attrs.items() if attributes else ():
        items = value if isinstance(value, list | tuple) else [value]
        if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            yield (op.index, name), list(items)

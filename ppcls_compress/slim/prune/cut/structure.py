"""Carrying out a plan: parameters, the numbers that layers hold, and a look at what becomes of the network.

What the numbers need is known beforehand (`trace.equations`). The look is for what a network's own code may do with
numbers of channels besides: it is captured again, and compared with what the dense one should have become.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from paddle import nn

from ppcls_compress.errors import first_line
from ppcls_compress.slim.graph import CaptureError, Graph, Op, capture
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.surgery import Surgery, refresh_sizes
from ppcls_compress.slim.prune.trace.attributes import substituted
from ppcls_compress.slim.prune.trace.context import Size, Tracing

_LOOK_AHEAD = 8

Change = tuple[str, str, object]
"""(layer path, attribute, new value)."""


class Misfit(Exception):
    """The pruned network is not what the plan says.

    Attributes:
        op: the first operator that differs.
        sizes: its numbers that are not as they should be; empty when it differs otherwise.
    """

    def __init__(self, op: Op | None, sizes: list[Size], reason: str) -> None:
        super().__init__(reason)
        self.op = op
        self.sizes = sizes


def carry_out(plan: Plan, surgery: Surgery) -> list[Change]:
    """Cuts the parameters and updates every number that layers hold; returns the attributes that were changed."""
    layers = plan.channels.tracing.layers
    tensors = plan.channels.tracing.graph.tensors
    changes: dict[tuple[str, str], object] = {}
    surgery.shrink(tensors, plan.cuts)
    for held, new in plan.attributes.items():
        value = substituted(getattr(layers[held.layer], held.name), held.index, new)
        surgery.set_attribute(layers[held.layer], held.name, value)
        changes[held.layer, held.name] = value
    for name, index in plan.picks.items():
        surgery.refill(tensors[name], index)
        path, _, buffer = name.rpartition(".")
        changes[path, buffer] = index.tolist()
    for path, name, value in refresh_sizes(surgery, layers):
        changes[path, name] = value
    return [(path, name, value) for (path, name), value in changes.items()]


def look(model: nn.Layer, inputs: Inputs, plan: Plan) -> None:
    """Captures the pruned network, in each mode that was traced, and compares it with what the plan says.

    Raises:
        Misfit: they differ.
    """
    tracing = plan.channels.tracing
    count = len(tracing.evaluation.ops)
    for ops, training in ((tracing.graph.ops[:count], False), (tracing.graph.ops[count:], True)):
        if ops:
            _look(model, inputs, plan, ops, training=training)


def _look(model: nn.Layer, inputs: Inputs, plan: Plan, ops: list[Op], *, training: bool) -> None:
    failure = None
    try:
        graph = capture(model, inputs, training=training)
    except CaptureError as error:
        graph, failure = error.graph, first_line(error.cause)
    tracing = plan.channels.tracing
    wanted: dict[int, list[tuple[Size, int]]] = {}
    for size in plan.channels.sizes:
        wanted.setdefault(size.op.index, []).append((size, plan.count(size.counted)))
    shapes = plan.shapes()
    read = {value for op in ops for value in tracing.flat_inputs(op)} | set(tracing.graph.outputs)
    for old, new in zip(ops, graph.ops, strict=False):
        if old.name != new.name:
            raise _ahead(tracing, old, wanted, f"the network takes another path here ({new.name})")
        _compare(plan, graph, old, new, wanted.get(old.index, []))
        for a, b in zip(old.outputs, new.outputs, strict=False):
            if a in read and shapes[a] != graph.shapes[b] and -1 not in graph.shapes[b]:
                raise Misfit(old, [], f"its result is {list(graph.shapes[b])} and not {list(shapes[a])}")
    if failure is not None:
        ended = len(graph.ops) >= len(ops)
        raise Misfit(None, [], failure) if ended else _ahead(tracing, ops[len(graph.ops)], wanted, failure)


def _compare(plan: Plan, graph: Graph, old: Op, new: Op, sizes: list[tuple[Size, int]]) -> None:
    """The numbers of an operator: those that count channels, and those that do not."""
    wrong = [(size, n) for size, n in sizes if not _is_right(plan, graph, new, size, n)]
    if wrong:
        raise Misfit(old, [size for size, _ in wrong], f"{wrong[0][0].value} does not become {wrong[0][1]}")
    if not _has_channels(plan.channels.tracing, old):
        return
    counted = {(size.slot[0], size.slot[1] or 0) for size, _ in sizes}
    for where, before, after in _constants(plan.channels.tracing.graph, old, graph, new):
        for index, (a, b) in enumerate(zip_longest(before, after)):
            if a != b and (where, index) not in counted:
                raise Misfit(old, [], f"{a} becomes {b}")


def _ahead(tracing: Tracing, op: Op, wanted: dict[int, list[tuple[Size, int]]], reason: str) -> Misfit:
    """The fault of the operator that `op` prepares: a slice over a whole axis is not made at all, for example.

    A constant has no channels that could stay, so it stands for the next operator that has.
    """
    ops = tracing.graph.ops
    start = ops.index(op)
    after = ops[start : start + _LOOK_AHEAD]
    for later in after:
        sizes = [size for size, n in wanted.get(later.index, []) if n != len(size.counted)]
        if sizes and later.owner == op.owner:
            return Misfit(later, sizes, reason)
    return Misfit(next((later for later in after if _has_channels(tracing, later)), op), [], reason)


def _has_channels(tracing: Tracing, op: Op) -> bool:
    return any(tracing.values.get(value) for value in [*tracing.flat_inputs(op), *op.outputs])


def _is_right(plan: Plan, graph: Graph, op: Op, size: Size, wanted: int) -> bool:
    where, index = size.slot
    if isinstance(where, int):
        found = graph.ints(op.inputs[where]) if isinstance(op.inputs[where], str) else None
    else:
        found = op.attrs[where]
    if found is None:
        return True
    value = int(found if index is None else found[index])
    if size.whole is None:
        return value == wanted or value <= 0 < wanted
    length = plan.count(size.whole)
    return min(max(value + length if value < 0 else value, 0), length) == wanted


def _constants(dense: Graph, old: Op, pruned: Graph, new: Op) -> Iterator[tuple[int | str, list, list]]:
    """(operand position or attribute, numbers in the dense network, in the pruned one)."""
    for name, value in old.attrs.items():
        if isinstance(value, bool | int | float | str | list):
            yield name, _listed(value), _listed(new.attrs.get(name))
    for place, (a, b) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        makers = [
            graph.makers.get(value) if isinstance(value, str) else None for graph, value in ((dense, a), (pruned, b))
        ]
        if all(maker is not None and maker.name in ("full", "full_int_array") for maker in makers):
            yield place, *(_listed(maker.attrs["value"]) for maker in makers)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]

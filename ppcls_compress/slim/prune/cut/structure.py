"""Carrying out a plan, and mending sizes that a network has written down instead of computing them.

After the parameters are cut, the network is captured again and its numbers are compared with what they should have
become. A number that did not follow is held by an integer attribute of the layer that made the operator, or of a
layer around it; that attribute is found by trying. Where none is found, `Misfit` tells which channels have to stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from paddle import nn

from ppcls_compress.slim.graph import CaptureError, Graph, Op, capture, first_line
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.surgery import Surgery, refresh_sizes
from ppcls_compress.slim.prune.trace.context import Size, Tracing

_WRITTEN_SIZES = (nn.Unflatten, nn.Pad1D, nn.Pad2D, nn.Pad3D, nn.ZeroPad2D, nn.ChannelShuffle)
"""Paddle's layers that are told sizes; all others of its layers compute them or are known to `_set_known_sizes`."""

_MOST_CAPTURES = 200
_LOOK_AHEAD = 8

Change = tuple[str, str, object]
"""(layer path, attribute, new value)."""


class Misfit(Exception):
    """The plan cannot be carried out.

    Attributes:
        op: the operator that fails or holds the sizes.
        sizes: its numbers that do not follow; empty when the operator fails for another reason.
    """

    def __init__(self, op: Op | None, sizes: list[Size], reason: str) -> None:
        super().__init__(reason)
        self.op = op
        self.sizes = sizes


@dataclass(frozen=True)
class Problem:
    """The first thing that is wrong with the pruned network's structure."""

    op: Op
    sizes: list[tuple[Size, int]]
    reason: str

    @property
    def progress(self) -> tuple[int, int]:
        """Grows as problems are solved in the order of the program."""
        return self.op.index, -len(self.sizes)


@dataclass
class Fitting:
    """One attempt to make the pruned network's structure right.

    Attributes:
        layers: path -> layer.
        changes: attributes set so far, by (layer path, attribute).
    """

    model: nn.Layer
    inputs: Inputs
    plan: Plan
    surgery: Surgery
    layers: dict[str, nn.Layer]
    changes: dict[tuple[str, str], object] = field(default_factory=dict)
    captures: int = 0

    @property
    def tracing(self) -> Tracing:
        """The dense network's."""
        return self.plan.channels.tracing

    def set(self, path: str, name: str, value: object) -> None:
        """Sets an attribute, reversibly."""
        self.surgery.set_attribute(self.layers[path], name, value)
        self.changes[path, name] = value


def carry_out(model: nn.Layer, inputs: Inputs, plan: Plan, surgery: Surgery, *, mend: bool = False) -> list[Change]:
    """Cuts the parameters and updates every size; returns the attributes that were changed.

    Args:
        mend: compare the structure even if every size belongs to a layer that is known to follow.

    Raises:
        Misfit: some size does not follow; the surgery has to be undone.
    """
    fitting = Fitting(model, inputs, plan, surgery, dict(model.named_sublayers(include_self=True)))
    surgery.shrink(fitting.tracing.graph.tensors, plan.cuts)
    _set_known_sizes(fitting)
    for name, index in plan.picks.items():
        surgery.refill(fitting.tracing.graph.tensors[name], index)
        path, _, buffer = name.rpartition(".")
        fitting.changes[path, buffer] = index.tolist()
    if mend or needs_mending(model, plan):
        _mend(fitting)
    for path, name, value in refresh_sizes(surgery, model):
        fitting.changes[path, name] = value
    return [(path, name, value) for (path, name), value in fitting.changes.items()]


def needs_mending(model: nn.Layer, plan: Plan) -> bool:
    """Whether a size changes that belongs to a layer of which it is not known that it follows."""
    layers = dict(model.named_sublayers(include_self=True))
    return any(not _follows(layers[size.op.owner]) for size, _ in plan.changed_sizes)


def _follows(layer: nn.Layer) -> bool:
    return type(layer).__module__.startswith("paddle.nn.layer.") and not isinstance(layer, _WRITTEN_SIZES)


def _set_known_sizes(fitting: Fitting) -> None:
    """The number of groups of Paddle's convolutions and group norms."""
    for size, new in fitting.plan.changed_sizes:
        for name in ("_groups", "_num_groups"):
            if size.slot[0] == "groups" and getattr(fitting.layers[size.op.owner], name, None) == fitting.plan.old(
                size
            ):
                fitting.set(size.op.owner, name, new)


def _mend(fitting: Fitting) -> None:
    problem = _first_problem(fitting)
    while problem is not None:
        if fitting.captures > _MOST_CAPTURES:
            raise Misfit(problem.op, [size for size, _ in problem.sizes], "too many sizes are written down")
        problem = _solve(fitting, problem)


def _solve(fitting: Fitting, problem: Problem) -> Problem | None:
    """Finds the attribute behind a problem; returns the next problem.

    Raises:
        Misfit: no attribute helps.
    """
    for path, name, old, new in _suspects(fitting, problem):
        before = fitting.changes.get((path, name))
        trial = Surgery()
        value = _substituted(getattr(fitting.layers[path], name), old, new)
        trial.set_attribute(fitting.layers[path], name, value)
        following = _first_problem(fitting)
        trial.undo()
        if following is None or following.progress > problem.progress:
            fitting.set(path, name, value)
            if before is None and _teach(fitting, type(fitting.layers[path]), name, path, problem):
                following = _first_problem(fitting)
            return following
    sizes = [size for size, _ in problem.sizes]
    reason = f"{sizes[0].value} is written into the code, not into an attribute" if sizes else problem.reason
    raise Misfit(problem.op, sizes, reason)


def _teach(fitting: Fitting, kind: type, name: str, path: str, solved: Problem) -> bool:
    """What held a size in one layer is changed in its siblings at once: the same class, the same kind of operator."""
    taught = False
    depth = _depth(solved.op.owner, path)
    for size, new in fitting.plan.changed_sizes:
        owner = _ancestor(size.op.owner, depth)
        layer = fitting.layers.get(owner)
        if (
            owner == path
            or type(layer) is not kind
            or size.op.name != solved.op.name
            or (owner, name) in fitting.changes
        ):
            continue
        if getattr(layer, name, None) == fitting.plan.old(size):
            fitting.set(owner, name, new)
            taught = True
    return taught


def _depth(owner: str, path: str) -> int:
    return owner.count(".") + bool(owner) - path.count(".") - bool(path)


def _ancestor(owner: str, depth: int) -> str:
    parts = owner.split(".") if owner else []
    return ".".join(parts[: len(parts) - depth])


def _suspects(fitting: Fitting, problem: Problem) -> Iterator[tuple[str, str, int, int]]:
    """(layer path, attribute, old number, new number), the likeliest first: from the operator's layer outwards."""
    plan = fitting.plan
    pairs = [(plan.old(size), new) for size, new in problem.sizes if plan.old(size) != new]
    shapes, old_shapes = plan.shapes(), plan.old_shapes()
    for value in [*fitting.tracing.flat_inputs(problem.op), *problem.op.outputs]:
        for old, new in zip(old_shapes[value], shapes[value], strict=True):
            if old != new and (old, new) not in pairs:
                pairs.append((old, new))
    for old, new in [*pairs, *_fractions(pairs)]:
        path = problem.op.owner
        while True:
            for name, value in list(vars(fitting.layers[path]).items()):
                if _holds(value, old):
                    yield path, name, old, new
            if not path:
                break
            path = path.rpartition(".")[0]


def _fractions(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same changes of a half, a third ..., for code that multiplies an attribute."""
    return [(old // k, new // k) for old, new in pairs for k in (2, 3, 4, 8) if old % k == 0 and new % k == 0]


def _holds(value: object, number: int) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, list | tuple):
        return any(_holds(item, number) for item in value)
    return isinstance(value, int) and value == number


def _substituted(value: object, old: int, new: int) -> object:
    if isinstance(value, list | tuple):
        items = [_substituted(item, old, new) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return new if _holds(value, old) else value


def _first_problem(fitting: Fitting) -> Problem | None:
    fitting.captures += 1
    failure = None
    try:
        graph = capture(fitting.model, fitting.inputs)
    except CaptureError as error:
        graph, failure = error.graph, first_line(error.cause)
    dense = fitting.tracing.graph
    wanted: dict[int, list[tuple[Size, int]]] = {}
    for size in fitting.plan.channels.sizes:
        wanted.setdefault(size.op.index, []).append((size, fitting.plan.count(size.counted)))
    shapes = fitting.plan.shapes()
    read = {value for op in dense.ops for value in fitting.tracing.flat_inputs(op)} | set(dense.outputs)
    for old, new in zip(dense.ops, graph.ops, strict=False):
        if old.name != new.name:
            return _ahead(fitting, old, wanted, f"the network takes another path here ({new.name})")
        wrong = [(size, n) for size, n in wanted.get(old.index, []) if not _is_right(fitting.plan, graph, new, size, n)]
        if wrong:
            return Problem(old, wrong, f"{wrong[0][0].value} is written down and does not become {wrong[0][1]}")
        for a, b in zip(old.outputs, new.outputs, strict=False):
            if a in read and shapes[a] != graph.shapes[b] and -1 not in graph.shapes[b]:
                return Problem(old, [], f"its result is {list(graph.shapes[b])} and not {list(shapes[a])}")
    if failure is None:
        return None
    if len(graph.ops) >= len(dense.ops):
        raise Misfit(None, [], failure)
    op = dense.ops[len(graph.ops)]
    wrong = [(size, n) for size, n in wanted.get(op.index, []) if not _was_built_right(dense, graph, size, n)]
    return Problem(op, wrong, failure) if wrong else _ahead(fitting, op, wanted, failure)


def _ahead(fitting: Fitting, op: Op, wanted: dict[int, list[tuple[Size, int]]], reason: str) -> Problem:
    """The problem of the operator that `op` prepares: a slice over a whole axis is not made at all, for example.

    A constant has no channels that could stay, so it stands for the next operator that has.
    """
    ops = fitting.tracing.graph.ops
    start = ops.index(op)
    for later in ops[start : start + _LOOK_AHEAD]:
        wrong = [(size, n) for size, n in wanted.get(later.index, []) if n != len(size.counted)]
        if wrong and later.owner == op.owner:
            return Problem(later, wrong, reason)
    after = ops[start : start + _LOOK_AHEAD]
    return Problem(next((later for later in after if _has_channels(fitting.tracing, later)), op), [], reason)


def _has_channels(tracing: Tracing, op: Op) -> bool:
    return any(tracing.values.get(value) for value in [*tracing.flat_inputs(op), *op.outputs])


def _was_built_right(dense: Graph, partial: Graph, size: Size, wanted: int) -> bool:
    """Whether the operand of an operator that failed already had the wanted number."""
    where, index = size.slot
    maker = dense.makers.get(size.op.inputs[where]) if isinstance(where, int) else None
    if maker is None:
        return False
    twin = next((op for op in reversed(partial.ops) if op.index == maker.index), None)
    numbers = partial.ints(twin.outputs[0]) if twin is not None else None
    return numbers is not None and numbers[index] == wanted


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


def first_other_constant(model: nn.Layer, inputs: Inputs, plan: Plan) -> Misfit | None:
    """The first operator on channels that the pruned network makes with another number than the dense one.

    Numbers that count channels are not meant. Others depend on a branch that looks at how many there are, or are
    computed from that; asked for when the pruned network is known to compute something else.
    """
    tracing = plan.channels.tracing
    dense, pruned = tracing.graph, capture(model, inputs)
    counted = {(size.op.index, size.slot[0]) for size in plan.channels.sizes}
    for old, new in zip(dense.ops, pruned.ops, strict=False):
        if old.name != new.name or not _has_channels(tracing, old):
            continue
        for slot, before, after in _constants(dense, old, pruned, new):
            if before != after and (old.index, slot) not in counted:
                return Misfit(old, [], f"{before} becomes {after} with fewer channels")
    return None


def _constants(dense: Graph, old: Op, pruned: Graph, new: Op) -> Iterator[tuple[int | str, object, object]]:
    """(operand position or attribute, number in the dense network, in the pruned one)."""
    for name, value in old.attrs.items():
        if isinstance(value, bool | int | float | str):
            yield name, value, new.attrs.get(name)
    for place, (a, b) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        makers = [
            graph.makers.get(value) if isinstance(value, str) else None for graph, value in ((dense, a), (pruned, b))
        ]
        if all(maker is not None and maker.name in ("full", "full_int_array") for maker in makers):
            yield place, makers[0].attrs["value"], makers[1].attrs["value"]

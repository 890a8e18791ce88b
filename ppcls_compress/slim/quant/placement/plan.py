"""Where an integer graph rounds, found by tracing the network: the places of `placement: deploy`.

A place is a call, not a layer: what one layer object gives or reads in two calls is two tensors with a range each.

A runtime computes a layer with integers only if what it reads and what it gives are both rounded. So besides the inputs
of quantized layers, their outputs are rounded (after the activation that a kernel computes along with them), and those
of every operator between whose inputs are all rounded: sums, products, concatenations, pooling, activations. Operators
that only move elements (flatten, max pooling) keep their input's grid, so that they and it are one place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ppcls_compress.slim.graph import Call, Graph
from ppcls_compress.slim.quant.placement.calls import numbered, repeated

_MOVING = {
    "flatten",
    "max_pool2d_with_index",
    "reshape",
    "slice",
    "split",
    "split_with_num",
    "squeeze",
    "strided_slice",
    "transpose",
    "unsqueeze",
}
_UNIT_RANGE = {"hardsigmoid", "sigmoid", "softmax"}
_NEVER_NEGATIVE = {"relu", "relu6", *_UNIT_RANGE}
_ACTIVATIONS = {*_NEVER_NEGATIVE, "clip", "elu", "hardswish", "hardtanh", "leaky_relu", "tanh"}
_FUSED = {"clip", "hardtanh", "relu", "relu6"}
_FUSED_WITH_LAYER = {*_FUSED, "hardsigmoid"}
_COMBINING = {"add", "concat", "multiply", "pad", "pad3d"}
_KEEPS_SIGN = {"add", "concat", "hardswish", "multiply"}
_AVERAGE_POOLING, _MAX_POOLING, _IDENTITY, _LAYER = "average pooling", "max pooling", "identity", "quantized layer"


Spot = tuple[str, int | None]
"""A layer, and which of its calls; None for a layer that is called once."""

_Calls = Sequence[tuple[Call, int | None]]
"""The calls of all layers, each with its number."""


@dataclass(frozen=True)
class Place:
    """A tensor that is rounded, and who does it.

    Attributes:
        layer: path of the layer that rounds.
        side: what it rounds: its `input`, which only quantized layers do, or its `output`.
        non_negative: whether the tensor cannot be negative.
        unit_range: whether the tensor lies between 0 and 1, as gates do.
        readers: quantized layers that read the rounded tensor, and so do not round it themselves.
        call: in which of its calls the layer rounds it; None for every one.
    """

    layer: str
    side: str
    non_negative: bool = False
    unit_range: bool = False
    readers: tuple[Spot, ...] = ()
    call: int | None = None


@dataclass(frozen=True)
class Unlearned:
    """A tensor that an integer graph would round and that training cannot: no layer gives just it.

    Attributes:
        layer: path of the layer whose forward pass makes it, "" for the network itself or its input.
        op: the operator that makes it.
    """

    layer: str
    op: str


def plan(
    graph: Graph, quantized: Collection[str], several: Collection[str] | None = None
) -> tuple[list[Place], list[Unlearned]]:
    """The places of a network whose batch norms are folded.

    Args:
        graph: captured from the float network.
        quantized: paths of the layers to be quantized.
        several: paths of the layers whose calls are told apart; left out, those that are called more than once.
    """
    calls = numbered(graph.calls, repeated(graph.calls) if several is None else several)
    steps = list(_steps(graph, calls, quantized))
    flow = _Flow(steps, graph, calls)
    places, unlearned = [], []
    for group in flow.groups(flow.rounded()):
        place = flow.place(group)
        if place is None:
            maker = graph.makers.get(group[0])
            unlearned.append(Unlearned(maker.owner if maker else "", maker.name if maker else "input"))
            places += [flow.at(group[0], reader, "input") for reader in flow.readers_of(group)]
        else:
            places.append(place)
    covered = {spot for place in places for spot in _rounding(place)}
    for step in steps:  # what it reads is an output of the network, too
        if step.kind == _LAYER and step.spot not in covered:
            places.append(flow.at(step.sources[0], step.spot, "input"))
    return places, list(dict.fromkeys(unlearned))


@dataclass(frozen=True, eq=False)
class _Step:
    """An operator, or the whole call of a quantized layer."""

    kind: str
    index: int
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    whole: bool = True
    spot: Spot = ("", None)


def _steps(graph: Graph, calls: _Calls, quantized: Collection[str]) -> Iterator[_Step]:
    """The operators that the network's input reaches, in order, quantized layers as one step each."""
    flowing: set[str] = set()
    starts = {call.start: (call, number) for call, number in calls if call.layer in quantized}
    skipped_to = 0
    for op in graph.ops:
        if op.index in starts:
            call, number = starts[op.index]
            skipped_to = call.stop
            flowing.update(call.outputs)
            yield _Step(_LAYER, op.index, call.inputs[:1], call.outputs, spot=(call.layer, number))
        if op.index < skipped_to:
            continue
        if op.name == "data":
            flowing.update(op.outputs)
            continue
        operands = [value for item in op.inputs if item for value in ([item] if isinstance(item, str) else item)]
        sources = tuple(dict.fromkeys(value for value in operands if value in flowing))
        if sources:
            flowing.update(op.outputs)
            needs_all = op.name in ("add", "multiply", "concat")
            whole = not needs_all or all(value in flowing for value in operands if len(graph.shapes[value]) != 0)
            yield _Step(_kind(op.name, op.attrs), op.index, sources, op.outputs, whole)


def _kind(name: str, attributes: object) -> str:
    if name == "pool2d":
        return _MAX_POOLING if attributes.get("pooling_type") == "max" else _AVERAGE_POOLING
    if name == "dropout" and attributes.get("mode") == "upscale_in_train":
        return _IDENTITY
    return name


class _Flow:
    """Who makes and who reads each tensor."""

    def __init__(self, steps: Sequence[_Step], graph: Graph, calls: _Calls) -> None:
        self._steps = steps
        self._graph = graph
        self._outputs = set(graph.outputs)
        self._makers = {value: step for step in steps for value in step.outputs}
        self._calls = calls
        self._readers: dict[str, list[_Step]] = {}
        for step in steps:
            for value in step.sources:
                self._readers.setdefault(value, []).append(step)

    def rounded(self) -> list[str]:
        """The tensors to round, in order of computation."""
        chosen = {step.sources[0]: None for step in self._steps if step.kind == _LAYER}
        for step in self._steps:
            between = step.whole and (_moves(step) or step.kind in (*_ACTIVATIONS, *_COMBINING, _AVERAGE_POOLING))
            if step.kind == _LAYER or (between and all(value in chosen for value in step.sources)):
                for value in step.outputs[:1] if step.kind == "max_pool2d_with_index" else step.outputs:
                    chosen[self._after_fusion(step, value)] = None
        inputs = [value for value in chosen if value not in self._makers]
        made = [value for step in self._steps for value in step.outputs if value in chosen]
        return [value for value in (*inputs, *made) if value not in self._outputs]

    def groups(self, values: Sequence[str]) -> list[list[str]]:
        """The tensors to round, those that share their elements together, what they come from first."""
        first: dict[str, str] = {}
        found: dict[str, list[str]] = {}
        for value in values:
            maker = self._makers.get(value)
            moved = maker is not None and _moves(maker) and maker.sources[0] in first
            first[value] = first[maker.sources[0]] if moved else value
            found.setdefault(first[value], []).append(value)
        return list(found.values())

    def readers_of(self, group: Sequence[str]) -> list[Spot]:
        """The calls of quantized layers that read a group, each once."""
        return list(dict.fromkeys(step.spot for step in self._uses(group) if step.kind == _LAYER))

    def place(self, group: Sequence[str]) -> Place | None:
        """Who rounds a group: its only reader if that is a quantized layer, else the layer that gives it; or nobody."""
        uses, readers = self._uses(group), self.readers_of(group)
        if len(readers) == 1 and all(step.kind == _LAYER for step in uses):
            return self.at(group[0], readers[0], "input")
        giver = self._giver(group[0], uses)
        return None if giver is None else self.at(group[0], giver, "output", tuple(readers))

    def at(self, value: str, spot: Spot, side: str, readers: tuple[Spot, ...] = ()) -> Place:
        """The place of a tensor at a call of a layer."""
        maker = self._makers.get(value)
        unit = maker is not None and maker.kind in _UNIT_RANGE
        return Place(spot[0], side, self._non_negative(value), unit, readers, spot[1])

    def _non_negative(self, value: str) -> bool:
        """Whether a tensor cannot be negative, from the operators that compute it."""
        pending, seen = [value], set()
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            step = self._makers.get(current)
            if step is None:
                return False
            if step.kind in _NEVER_NEGATIVE:
                continue
            if not step.whole or not (step.kind in (*_KEEPS_SIGN, _AVERAGE_POOLING) or _moves(step)):
                return False
            pending += step.sources
        return True

    def _uses(self, group: Sequence[str]) -> list[_Step]:
        """The steps that read a group, but for those that only move it on inside."""
        members = set(group)
        readers = [step for value in group for step in self._readers.get(value, [])]
        return [step for step in readers if not (_moves(step) and members.issuperset(step.outputs[:1]))]

    def _after_fusion(self, step: _Step, value: str) -> str:
        """The tensor itself, or the activation of it that a kernel computes along with it."""
        readers = self._readers.get(value, [])
        if len(readers) != 1 or value in self._outputs or _moves(step) or step.kind in _ACTIVATIONS:
            return value
        fused = _FUSED_WITH_LAYER if step.kind == _LAYER else _FUSED
        return readers[0].outputs[0] if readers[0].kind in fused else value

    def _giver(self, value: str, uses: Sequence[_Step]) -> Spot | None:
        """The innermost layer whose call makes a tensor, returns it alone, and is over when others read it."""
        maker = self._makers.get(value)
        if maker is None:
            return None
        first_use = min((step.index for step in uses), default=maker.index + 1)
        for call, number in self._calls:
            if call.outputs == (value,) and call.start <= maker.index < call.stop <= first_use:
                return call.layer, number
        return None


def _moves(step: _Step) -> bool:
    return step.kind in (*_MOVING, _MAX_POOLING, _IDENTITY)


def _rounding(place: Place) -> tuple[Spot, ...]:
    """The calls of quantized layers for whose input a place provides."""
    return ((place.layer, place.call),) if place.side == "input" else place.readers

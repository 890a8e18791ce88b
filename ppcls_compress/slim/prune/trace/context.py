"""What a rule of the operator table works with: the labels of the values so far, and what it may say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from paddle import nn

from ppcls_compress.registry import Registry
from ppcls_compress.slim.graph import Graph, Op, Shape
from ppcls_compress.slim.prune.trace.labels import Axes, LabelBook, Labels, Pin
from ppcls_compress.slim.prune.trace.sources import Sources


class Unsupported(Exception):
    """A rule meets a case it has no exact answer for; the operator's channels are pinned with this reason."""


@dataclass(frozen=True)
class Origin:
    """A layer whose output channels may be removed: one axis of one weight.

    Attributes:
        weight: structured name of the parameter.
        axis: its output axis.
        kind: `conv` or `fc`.
        labels: one per output channel.
        owner: path of the layer.
        output: value id of what the layer computes.
    """

    weight: str
    axis: int
    kind: str
    labels: Labels
    owner: str
    output: str


@dataclass(frozen=True)
class Size:
    """A number in the program that says how many channels there are, and that must follow when some are removed.

    Whether the network computes it from its input's shape or has it written down cannot be seen in the trace.

    Attributes:
        op: the operator it belongs to.
        slot: which of the operator's numbers, (operand position or attribute name, index in it).
        value: the number in the dense network.
        counted: the labels whose kept ones it counts.
        whole: the labels of the full axis when the number is a slice bound, which may be negative or lie past the end.
    """

    op: Op
    slot: tuple[int | str, int | None]
    value: int
    counted: Labels
    whole: Labels | None = None


@dataclass(frozen=True)
class GroupedConv:
    """A convolution with 1 < groups < channels: either whole groups go, or the same positions of every group.

    Attributes:
        wide: the channels that lie along the weight's first axis: its outputs, or, of a transposed one, its inputs.
        narrow: those on the other side, of which the second axis has one group's.
        weight_narrow: the labels of that axis.
    """

    op: Op
    groups: int
    wide: Labels | None
    narrow: Labels | None
    weight_narrow: Labels


@dataclass(frozen=True)
class Pick:
    """Numbers in a buffer by which channels are picked; they must be counted anew when some are removed.

    Attributes:
        index: the positions picked.
        labels: those of the axis picked from.
    """

    index: np.ndarray
    labels: Labels


@dataclass
class Tracing:
    """State of one pass over the operators.

    Attributes:
        graph: of a run in evaluation and, behind it, of one in training where that takes another path.
        evaluation: the former alone.
        values: value id -> labelled axes.
        bindings: (structured parameter name, axis) -> labels.
        picks: structured name of a buffer -> what is picked by its numbers.
        parts: the labels of what is cut out of an axis; some of each stay.
        sources: where the program's numbers came from.
        layers: path -> layer.
    """

    graph: Graph
    evaluation: Graph
    sources: Sources
    layers: Mapping[str, nn.Layer]
    book: LabelBook = field(default_factory=LabelBook)
    values: dict[str, Axes] = field(default_factory=dict)
    bindings: dict[tuple[str, int], Labels] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    grouped: list[GroupedConv] = field(default_factory=list)
    picks: dict[str, Pick] = field(default_factory=dict)
    parts: list[Labels] = field(default_factory=list)

    def shape(self, value: str) -> Shape:
        """The value's static shape."""
        return self.graph.shapes[value]

    def axis(self, value: str, axis: int) -> Labels | None:
        """Labels along one axis; a parameter's axis gets its labels when it is first asked for."""
        name = self.graph.parameters.get(value)
        if name is None:
            return self.values.get(value, {}).get(axis)
        if (name, axis) not in self.bindings:
            self.bindings[name, axis] = self.book.fresh(self.shape(value)[axis])
        return self.bindings[name, axis]

    def along(self, tensor: str, axis: int) -> Labels | None:
        """Labels along an axis of a value, or of a parameter by Paddle's name for it, where there are any yet."""
        name = self.graph.parameters.get(tensor) or self._names.get(tensor)
        return self.values.get(tensor, {}).get(axis) if name is None else self.bindings.get((name, axis))

    @cached_property
    def _names(self) -> dict[str, str]:
        return {tensor.name: name for name, tensor in self.graph.tensors.items()}

    def written(self, size: Size) -> int:
        """The number in the program, which for a slice may be negative or lie past the end."""
        where, index = size.slot
        found = size.op.attrs[where] if isinstance(where, str) else self.graph.ints(size.op.inputs[where])
        return int(found if index is None else found[index])

    def axes(self, value: str) -> Axes:
        """All labelled axes of a value; of a parameter used as it is, every axis longer than one."""
        if value not in self.graph.parameters:
            return self.values.get(value, {})
        return {axis: self.axis(value, axis) for axis, dim in enumerate(self.shape(value)) if dim > 1}

    def put(self, value: str, axes: Axes) -> None:
        """Sets the labels of a result; axes whose every position is always there are left out."""
        self.values[value] = {axis: labels for axis, labels in axes.items() if labels is not None and labels.any()}

    def unite(self, a: Labels | None, b: Labels | None, op: Op, reason: str) -> None:
        """See `LabelBook.unite`; the reason is kept in case one side is not removable."""
        self.book.unite(a, b, Pin(op.name, reason))

    def pin(self, labels: Labels | None, op: Op, reason: str) -> None:
        """These labels stay, because of `op`."""
        self.book.pin(labels, Pin(op.name, reason))

    def only(self, op: Op, value: str, axes: Iterable[int], reason: str) -> Axes:
        """The value's labels on the given axes; labels on any other axis are pinned."""
        wanted = set(axes)
        found = self.axes(value)
        for axis, labels in found.items():
            if axis not in wanted:
                self.pin(labels, op, reason)
        return {axis: labels for axis, labels in found.items() if axis in wanted}

    def constant(self, op: Op, position: int) -> list[int]:
        """The integers of an operand.

        Raises:
            Unsupported: they are computed at run time.
        """
        value = op.inputs[position]
        found = self.graph.ints(value) if isinstance(value, str) else None
        if found is None:
            raise Unsupported("sizes are computed at run time")
        return found

    def size(
        self,
        op: Op,
        slot: tuple[int | str, int | None],
        value: int,
        counted: Labels | None,
        whole: Labels | None = None,
    ) -> None:
        """Notes a number that follows the labels it counts."""
        if counted is not None and (counted.any() or (whole is not None and whole.any())):
            self.sizes.append(Size(op, slot, value, counted, whole))

    def flat_inputs(self, op: Op) -> list[str]:
        """All tensors an operator reads, lists opened."""
        flat: list[str] = []
        for item in op.inputs:
            flat.extend(item if isinstance(item, tuple) else [item] if item else [])
        return flat


Rule = Callable[[Tracing, Op], None]

RULES: Registry[Rule] = Registry("operator")
"""Operator name -> what it does to labels. An operator that is not here pins what it reads."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Files one rule under several operator names."""

    def add(function: Rule) -> Rule:
        for name in names:
            RULES.register(name)(function)
        return function

    return add


def uniform(labels: Labels | None, size: int) -> Labels:
    """The labels, or as many zeros when the axis has none."""
    return np.zeros(size, dtype=np.int64) if labels is None else labels

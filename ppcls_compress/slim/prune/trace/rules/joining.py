"""Concatenation, stacking, splitting."""

from __future__ import annotations

import numpy as np

from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import Tracing, rule, uniform
from ppcls_compress.slim.prune.trace.labels import Axes, Labels, Pin
from ppcls_compress.slim.prune.trace.rules.elementwise import combine

_ASIDE = "joined with channels that stay"


@rule("concat")
def concat(tracing: Tracing, op: Op) -> None:
    """Labels are laid end to end along the axis, and united across the tensors on every other axis."""
    values = op.inputs[0]
    axis = tracing.constant(op, 1)[0] % len(tracing.shape(op.outputs[0]))
    parts = [uniform(tracing.axes(value).get(axis), tracing.shape(value)[axis]) for value in values]
    aside: Axes = {}
    for value in values:
        for other, labels in tracing.axes(value).items():
            if other != axis:
                aside.setdefault(other, labels)
    for other, labels in aside.items():
        for value in values:
            tracing.unite(labels, tracing.axes(value).get(other), op, _ASIDE)
    tracing.put(op.outputs[0], {**aside, axis: np.concatenate(parts)})


@rule("stack")
def stack(tracing: Tracing, op: Op) -> None:
    """A new axis without labels; the others are united across the tensors."""
    axis = int(op.attrs["axis"]) % len(tracing.shape(op.outputs[0]))
    rank = len(tracing.shape(op.inputs[0][0]))
    result: Axes = {}
    for old in range(rank):
        sides = [tracing.axes(value).get(old) for value in op.inputs[0]]
        first = next((labels for labels in sides if labels is not None), None)
        for side in sides:
            tracing.unite(first, side, op, _ASIDE)
        result[old + (old >= axis)] = first
    tracing.put(op.outputs[0], result)


@rule("split")
def split(tracing: Tracing, op: Op) -> None:
    """Sections are numbers in the program. Equal ones may be computed as a fraction, so they shrink alike."""
    sections = tracing.constant(op, 1)
    axis = tracing.constant(op, 2)[0] % len(tracing.shape(op.inputs[0]))
    total = tracing.shape(op.inputs[0])[axis]
    sections = [s if s >= 0 else total - sum(q for q in sections if q >= 0) for s in sections]
    labels = tracing.axes(op.inputs[0]).get(axis)
    if labels is not None:
        parts = np.split(labels, np.cumsum(sections)[:-1])
        for index, part in enumerate(parts):
            tracing.size(op, (1, index), sections[index], part)
    _divide(tracing, op, axis, sections, equal=len(set(sections)) == 1)


@rule("split_with_num")
def split_evenly(tracing: Tracing, op: Op) -> None:
    """Parts stay of equal length, so the same positions of each go together."""
    axis = tracing.constant(op, 1)[0] % len(tracing.shape(op.inputs[0]))
    number = int(op.attrs["num"])
    _divide(tracing, op, axis, [tracing.shape(op.inputs[0])[axis] // number] * number, equal=True)


def _divide(tracing: Tracing, op: Op, axis: int, sections: list[int], *, equal: bool) -> None:
    axes = dict(tracing.axes(op.inputs[0]))
    labels = axes.pop(axis, None)
    parts: list[Labels | None] = [None] * len(sections)
    if labels is not None:
        parts = list(np.split(labels, np.cumsum(sections)[:-1]))
        tracing.parts += parts
        if equal:
            tracing.book.unite_rows(np.stack(parts), Pin(op.name, "cut into equal parts with channels that stay"))
    for output, part in zip(op.outputs, parts, strict=True):
        tracing.put(output, {**axes, axis: part})


@rule("unbind", "unstack")
def unbind(tracing: Tracing, op: Op) -> None:
    """One tensor per position of an axis, which therefore stays."""
    rank = len(tracing.shape(op.inputs[0]))
    axis = int(op.attrs["axis"]) % rank
    axes = tracing.only(op, op.inputs[0], [a for a in range(rank) if a != axis], "taken apart channel by channel")
    for output in op.outputs:
        tracing.put(output, {old - (old > axis): labels for old, labels in axes.items()})


@rule("broadcast_tensors")
def broadcast_tensors(tracing: Tracing, op: Op) -> None:
    """Every result has the united labels of all operands."""
    combine(tracing, op, list(op.inputs[0]))
    for output in op.outputs[1:]:
        tracing.put(output, tracing.axes(op.outputs[0]))

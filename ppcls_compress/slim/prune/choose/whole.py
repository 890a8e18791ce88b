"""Layers that keep all output channels, and why."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Graph, Op
from ppcls_compress.slim.prune.trace.channels import Channels
from ppcls_compress.slim.prune.trace.context import RULES, Tracing
from ppcls_compress.slim.prune.trace.labels import Labels
from ppcls_compress.slim.prune.trace.rules.convolution import channel_axis

Hold = tuple[str, str]
"""Why channels stay: operator or option, and the reason."""

_KINDS = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "conv3d", "deformable_conv"), "conv"),
    **dict.fromkeys(("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose"), "conv"),
    **dict.fromkeys(("matmul", "linear", "bmm", "einsum"), "fc"),
}
"""Operators that are a layer when one of their operands is a weight."""

_TYPES = {
    "conv": (nn.Conv1D, nn.Conv2D, nn.Conv3D, nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose),
    "fc": (nn.Linear,),
}

_NO_WEIGHT = "its weight is computed, or of a shape that no layer has"


def whole_layers(channels: Channels, kinds: frozenset[str], holds: list[Hold | None]) -> list[dict[str, str]]:
    """Each layer with the operator and the reason."""
    reasons: dict[int, Hold] = {}
    live = np.zeros(len(channels.root), dtype=bool)
    for group, hold in zip(channels.groups, holds, strict=True):
        if hold is None:
            live[group.roots] = True
        else:
            reasons.update(dict.fromkeys(group.roots.tolist(), hold))
    reasons.update({root: (pin.op, pin.reason) for root, pin in channels.pinned.items() if root})
    found: dict[tuple[str, str], dict[str, str]] = {}
    for op, layer, labels in _layers(channels.tracing, kinds):
        roots = channels.root[labels]
        if not live[roots].any():
            unknown = (op.name, _NO_WEIGHT if op.name in RULES else "the operator is not in the pruner's table")
            held, reason = next((reasons[root] for root in roots.tolist() if root in reasons), unknown)
            found.setdefault((layer, op.name), {"layer": layer, "op": held, "reason": reason})
    return [*found.values(), *_not_reached(channels.tracing, kinds)]


def _not_reached(tracing: Tracing, kinds: frozenset[str]) -> Iterator[dict[str, str]]:
    """Layers that no forward pass calls: they stay as they are, whatever they would read."""
    types = tuple(kind for name in kinds for kind in _TYPES[name])
    names = {tracing.graph.parameters.get(value) for op in tracing.graph.ops for value in tracing.flat_inputs(op)}
    read = {id(tensor) for name, tensor in tracing.graph.tensors.items() if name in names}  # two layers may share one
    for path, layer in tracing.layers.items():
        weight = layer._parameters.get("weight") if isinstance(layer, types) else None
        if weight is not None and id(weight) not in read:
            yield {"layer": path, "op": "", "reason": "the forward pass does not reach it"}


def causes(whole: list[dict[str, str]]) -> str:
    """The commonest reasons, each with the number of layers, to be put behind an error."""
    counts: dict[str, int] = {}
    for entry in whole:
        text = f"{entry['op']}: {entry['reason']}" if entry["op"] else entry["reason"]
        counts[text] = counts.get(text, 0) + 1
    return "; ".join(["", *(f"{text} ({n} layers)" for text, n in sorted(counts.items(), key=lambda c: -c[1])[:5])])


def refuse_all_whole(channels: Channels, kinds: frozenset[str], holds: list[Hold | None]) -> None:
    """Refuses a network of which every group of channels stays.

    Raises:
        UserError: it is such a one; with the commonest reasons, and what could be pruned instead.
    """
    if all(hold is not None for hold in holds):
        why = causes(whole_layers(channels, kinds, holds))
        raise UserError(f"no layer of this network can be pruned{why}{_others(channels, kinds)}")


def _others(channels: Channels, kinds: frozenset[str]) -> str:
    """Which other layers could be pruned."""
    found = [
        origin.kind
        for origin in channels.tracing.origins.values()
        if origin.kind not in kinds and set(channels.root[origin.labels].tolist()) - channels.pinned.keys()
    ]
    if not found:
        return ""
    layers = {"conv": "convolutions", "fc": "linear layers"}[found[0]]
    return f"; prune_type: all takes {layers} too, {found[0]} takes only them: {len(found)} can be pruned"


def _layers(tracing: Tracing, kinds: frozenset[str]) -> list[tuple[Op, str, Labels]]:
    """Operator, name and output channels of each layer: first those that have filters of their own to choose from."""
    graph = tracing.graph
    found = []
    known = set()
    for origin in tracing.origins.values():
        known.add(origin.weight)
        if origin.kind in kinds:
            op = graph.makers[origin.output]
            found.append((op, origin.owner or origin.weight, np.union1d(origin.labels, _outputs(tracing, op))))
    for op in graph.ops:
        weights = [weight for value in tracing.flat_inputs(op) if (weight := _weight(graph, op, value)) is not None]
        if _KINDS.get(op.name) in kinds and known.isdisjoint(weights) and (weights or _KINDS[op.name] == "conv"):
            found.append((op, op.owner or (weights or [op.name])[0], _outputs(tracing, op)))
    return found


def _outputs(tracing: Tracing, op: Op) -> Labels:
    """Those of the axis along which a layer's outputs lie."""
    value = op.outputs[0]
    rank = len(tracing.shape(value))
    axis = channel_axis(op, rank) if _KINDS[op.name] == "conv" else rank - 1
    return tracing.axes(value).get(axis, np.zeros(0, dtype=np.int64))


def _weight(graph: Graph, op: Op, value: str) -> str | None:
    """The parameter that an operand with several axes is computed from, when nothing else goes into it."""
    if op.name not in _KINDS or len(graph.shapes[value]) < 2:
        return None
    found, todo, seen = None, [value], {value}
    while todo:
        value = todo.pop()
        if value in graph.parameters:
            found = found or graph.parameters[value]
            continue
        maker = graph.makers.get(value)
        if maker is None or maker.name == "data":
            return None
        for item in maker.inputs:
            values = {item} if isinstance(item, str) else set(item or ())
            todo.extend(values - seen)
            seen |= values
    return found

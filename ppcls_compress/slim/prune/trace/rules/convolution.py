"""Convolutions and their transposes: plain, depthwise, grouped, any data format."""

from __future__ import annotations

import numpy as np

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.prune.trace.context import GroupedConv, Origin, Tracing, rule, uniform
from ppcls_compress.slim.prune.trace.labels import Labels


def channel_axis(op: Op, rank: int) -> int:
    """1, or the last axis when the operator's data format ends in C."""
    return rank - 1 if str(op.attrs.get("data_format", "NCHW")).endswith("C") and rank > 2 else 1


def origin_of(tracing: Tracing, op: Op, weight: str, axis: int, kind: str, labels: Labels) -> None:
    """Notes that `labels` are the output channels of a layer, when its weight is a parameter.

    A weight that a 1-D convolution gets by adding an axis counts as the parameter it was made from.
    """
    source = weight
    while source not in tracing.graph.parameters:
        maker = tracing.graph.makers.get(source)
        if maker is None or maker.name not in ("unsqueeze", "assign", "cast"):
            return
        source = maker.inputs[0]
    name = tracing.graph.parameters[source]
    tracing.origins.setdefault(name, Origin(name, axis, kind, labels, op.owner, op.outputs[0]))


@rule("conv2d", "depthwise_conv2d", "conv3d")
def convolution(tracing: Tracing, op: Op) -> None:
    """[out, in / groups, ...] weight: output labels are new, input labels come from x."""
    x, weight = op.inputs[:2]
    axis = channel_axis(op, len(tracing.shape(x)))
    inputs = tracing.only(op, x, [0, axis], "a convolution slides over it")
    outputs = _couple(tracing, op, inputs.get(axis), tracing.shape(x)[axis], weight)
    if outputs is not None:
        origin_of(tracing, op, weight, 0, "conv", outputs)
    tracing.put(op.outputs[0], {0: inputs.get(0), axis: outputs})


def _couple(tracing: Tracing, op: Op, inputs: Labels | None, channels: int, weight: str) -> Labels | None:
    groups = int(op.attrs["groups"])
    if tracing.shape(weight)[1] * groups != channels:
        wanted = tracing.shape(weight)[1] * groups
        raise UserError(f"the network's forward pass fails: layer {op.owner!r} takes {wanted} channels, not {channels}")
    outputs = tracing.axis(weight, 0)
    weight_inputs = tracing.axis(weight, 1) if tracing.shape(weight)[1] > 1 else None
    if groups == 1:
        if tracing.shape(weight)[1] == 1:
            weight_inputs = tracing.axis(weight, 1)
        tracing.unite(inputs, weight_inputs, op, "reads the network's input or a constant")
    elif groups == channels:
        repeated = np.repeat(uniform(inputs, channels), tracing.shape(weight)[0] // channels)
        tracing.unite(repeated, outputs, op, "a depthwise convolution of channels that stay")
        tracing.size(op, ("groups", None), groups, inputs)
    elif outputs is not None and weight_inputs is not None:
        tracing.grouped.append(GroupedConv(op, groups, outputs, inputs, weight_inputs))
    else:
        tracing.pin(inputs, op, "a grouped convolution with a computed weight")
    return outputs


@rule("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose")
def transposed_convolution(tracing: Tracing, op: Op) -> None:
    """[in, out / groups, ...] weight."""
    x, weight = op.inputs[:2]
    axis = channel_axis(op, len(tracing.shape(x)))
    channels, groups = tracing.shape(x)[axis], int(op.attrs["groups"])
    inputs = tracing.only(op, x, [0, axis], "a convolution slides over it")
    tracing.unite(inputs.get(axis), tracing.axis(weight, 0), op, "reads the network's input or a constant")
    per_group = tracing.axis(weight, 1) if groups < channels else None
    if groups == 1:
        outputs = per_group
    elif groups == channels:
        outputs = None if axis not in inputs else np.repeat(inputs[axis], tracing.shape(weight)[1])
        tracing.size(op, ("groups", None), groups, inputs.get(axis))
    elif per_group is None:
        outputs = None
        tracing.pin(inputs.get(axis), op, "a grouped convolution with a computed weight")
    else:
        outputs = tracing.book.fresh(groups * len(per_group))
        tracing.grouped.append(GroupedConv(op, groups, inputs.get(axis), outputs, per_group))
    if per_group is not None:
        origin_of(tracing, op, weight, 1, "conv", per_group)
    tracing.put(op.outputs[0], {0: inputs.get(0), axis: outputs})

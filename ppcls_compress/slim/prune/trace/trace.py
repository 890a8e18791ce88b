"""From a network to labelled channels: one pass of the operator table over the captured graph."""

from __future__ import annotations

import warnings

from paddle import nn

from ppcls_compress.slim.graph import CaptureError, Graph, Op, capture, capture_or_refuse
from ppcls_compress.slim.inputs import Inputs, check_layer
from ppcls_compress.slim.prune.trace import rules  # noqa: F401  fills RULES
from ppcls_compress.slim.prune.trace.context import RULES, Tracing, Unsupported
from ppcls_compress.slim.prune.trace.labels import Pin
from ppcls_compress.slim.prune.trace.modes import PREFIX, branches_on_training, joined
from ppcls_compress.slim.prune.trace.sources import Sources
from ppcls_compress.slim.prune.trace.watch import Watch, watched


def trace(model: nn.Layer, inputs: Inputs, *, outputs_stay: bool = True) -> Tracing:
    """Labels for every value and parameter of `model`, for inputs of these shapes.

    Raises:
        UserError: the forward pass fails on such inputs, or it is no network.
    """
    check_layer(model)
    layers = dict(model.named_sublayers(include_self=True))
    with watched(model) as watch:
        evaluation = capture_or_refuse(model, inputs)
    graph, watches = evaluation, [watch]
    if branches_on_training(layers.values()):
        graph, watches = _with_training(model, inputs, evaluation, watch)
    tracing = Tracing(graph, evaluation, Sources(graph, *watches), layers)
    _label(tracing, outputs_stay=outputs_stay)
    return tracing


def _with_training(model: nn.Layer, inputs: Inputs, evaluation: Graph, watch: Watch) -> tuple[Graph, list[Watch]]:
    """The operators of both modes; of evaluation alone, with a warning, where training cannot be traced."""
    try:
        with watched(model, PREFIX) as second:
            training = capture(model, inputs, training=True)
    except CaptureError as error:
        warnings.warn(
            "the forward pass in training mode, which takes another path, cannot be traced and may not fit the pruned "
            f"network: {error.reason}",
            stacklevel=2,
        )
        return evaluation, [watch]
    order = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    return joined(evaluation, training, order), [watch, second]


def _label(tracing: Tracing, *, outputs_stay: bool) -> None:
    """Applies the operator table; an operator without a rule pins the channels it reads, as being an output does."""
    graph = tracing.graph
    for op in graph.ops:
        if op.name not in RULES:
            _pin_all(tracing, op, "the operator is not in the pruner's table")
            continue
        try:
            RULES.get(op.name)(tracing, op)
        except Unsupported as case:
            _pin_all(tracing, op, str(case))
    for value in graph.outputs if outputs_stay else []:
        for labels in tracing.axes(value).values():
            tracing.book.pin(labels, Pin("output", "is an output of the network"))


def _pin_all(tracing: Tracing, op: Op, reason: str) -> None:
    for value in tracing.flat_inputs(op):
        for labels in tracing.axes(value).values():
            tracing.pin(labels, op, reason)
    for output in op.outputs:
        tracing.put(output, {})

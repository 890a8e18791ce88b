"""ONNX graphs in the container of `onnx_ir`: reading and writing, and the edits that the layouts share.

A tensor is an `onnx_ir.Value`: one without a producer is the images or a constant. Names serve messages and files; two
tensors may have the same one until the graph is written, run, or its shapes are inferred.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from ppcls_compress import io
from ppcls_compress.errors import UserError

OPSET = 17
"""The oldest operator set with layer normalization."""
_IR_VERSION = 8
_PRODUCER = "ppcls_compress"


def load(path: str | Path) -> ir.Model:
    """Read a model with one input and one output; constants are initializers.

    Raises:
        UserError: the file is no ONNX model, or has another number of inputs or outputs.
    """
    try:
        found = ir.load(path)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX model: {error}") from error
    passes.RemoveInitializersFromInputsPass()(found)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(found)
    graph = found.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UserError(
            f"{path}: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs found, one of each is needed"
        )
    for value in graph.initializers.values():
        # An array of its own: what came from the file holds all of the file in memory for as long as it lives.
        value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    return ir.Model(graph, ir_version=_IR_VERSION, producer_name=_PRODUCER)


def save(model: ir.Model, path: str | Path, metadata: Mapping[str, str] | None = None, *, brief: bool = False) -> None:
    """Write a model, whole or not at all, after ONNX's own check of it.

    Args:
        model: what to write; its names are made unique.
        path: the file.
        metadata: texts that travel in the file, under `metadata_props`.
        brief: with the shortest names for all but what goes in and comes out; of a small network in integers the names
            may be two fifths of the file.
    """
    proto = to_proto(model)
    if brief:
        _shorten_names(proto.graph)
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    onnx.checker.check_model(proto, full_check=True)
    with io.atomic(path) as partial:
        partial.write_bytes(proto.SerializeToString())


def copied(model: ir.Model) -> ir.Model:
    """A copy that shares the arrays; ends are known as well as before, and so is what marks hold."""
    other = model.clone()
    for node, twin in zip(model.graph, other.graph, strict=True):
        twin.meta.update(node.meta)  # `onnx_ir` 0.1.14 leaves it out
    ends = zip((*model.graph.inputs, *model.graph.outputs), (*other.graph.inputs, *other.graph.outputs), strict=True)
    for value, twin in ends:
        twin.type, twin.shape = value.type, value.shape  # which `onnx_ir` 0.1.14 leaves out
    return other


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """What is written: no trace of the passes, no shapes inside; the model's names are made unique."""
    passes.NameFixPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    return proto


def _shorten_names(graph: onnx.GraphProto) -> None:
    ends = {value.name for value in (*graph.input, *graph.output)}
    free = (name for name in _short_names() if name not in ends)
    short: dict[str, str] = {name: name for name in ("", *ends)}

    def new(name: str) -> str:
        return short[name] if name in short else short.setdefault(name, next(free))

    def shorten(graph: onnx.GraphProto) -> None:
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = new(value.name)
        for node in graph.node:
            node.ClearField("name")
            node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
            for attribute in node.attribute:
                for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                    shorten(inner)

    shorten(graph)


def _short_names() -> Iterator[str]:
    for length in itertools.count():
        for parts in itertools.product(string.ascii_letters, *[string.ascii_letters + string.digits] * length):
            yield "".join(parts)


def infer_shapes(model: ir.Model) -> None:
    """Note with each tensor the shape that follows from that of the input; names are made unique."""
    passes.NameFixPass()(model)
    passes.ShapeInferencePass(check_type=False, strict_mode=False)(model)


def sweep(model: ir.Model) -> None:
    """Drop the nodes, constants and operator sets that nothing uses."""
    before = list(model.graph.initializers.values())
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    for value in before:
        if not value.is_initializer():
            value.const_value = None  # a graph holds on to what was its input, as all were while shapes were inferred


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant; None for a computed tensor, or one that is left out."""
    tensor = None if value is None else value.const_value
    return None if tensor is None else tensor.numpy()


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a tensor, each once."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a tensor, or None when there are more, none, or it is the graph's output."""
    found = readers(value)
    return found[0] if len(found) == 1 and not value.is_graph_output() else None


def computed_by(value: ir.Value | None) -> str | None:
    """The operator that computes a tensor; None for the images and constants."""
    producer = None if value is None else value.producer()
    return None if producer is None else producer.op_type


def add_constant(graph: ir.Graph, stem: str, array: np.ndarray) -> ir.Value:
    """Add an array under the stem, or the stem with a number if that is taken."""
    name, number = stem, 1
    while name in graph.initializers:
        name, number = f"{stem}_{number}", number + 1
    tensor = ir.tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def insert_before(
    place: ir.Node, op: str, inputs: Sequence[ir.Value], name: str, *, domain: str = "", **attributes: Any
) -> ir.Value:
    """Add a node with one output before another; returns the output."""
    output = ir.Value(name=name)
    place.prepend(ir.node(op, inputs, attributes, domain=domain, outputs=[output]))
    return output


def insert_after(
    value: ir.Value, op: str, inputs: Sequence[ir.Value], name: str, *, domain: str = "", **attributes: Any
) -> ir.Value:
    """Add a node with one output right after a tensor is known; returns the output."""
    output = ir.Value(name=name)
    node = ir.node(op, inputs, attributes, domain=domain, outputs=[output])
    producer = value.producer()
    if producer is not None:
        producer.append(node)
    else:
        value.graph[0].prepend(node)
    return output


def redirect(old: ir.Value, new: ir.Value, nodes: Iterable[ir.Node] | None = None) -> None:
    """Let the readers of `old`, or those of them that are given, read `new`; the graph's output stays."""
    chosen = None if nodes is None else set(nodes)
    for use in tuple(old.uses()):
        if chosen is None or use.node in chosen:
            use.node.replace_input_with(use.idx, new)

"""An ONNX graph that is easy to edit: nodes as plain objects, constants as arrays.

Importing this module does not import onnx; reading and writing does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress import io
from ppcls_compress.errors import UserError

OPSET = 17
"""The oldest operator set with layer normalization."""
_IR_VERSION = 8


@dataclass(eq=False)
class Node:
    """One operator; an input that is left out is an empty name."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The first output, by which a node is named in messages."""
        return self.outputs[0]


@dataclass(frozen=True)
class Value:
    """An input or output of the graph: name and shape; a free dimension is its name."""

    name: str
    shape: tuple[int | str, ...]


class Graph:
    """Operators in order of execution, and what they read.

    Attributes:
        nodes: read freely; changed by the methods only.
        constants: weights and other arrays by name.
        input: the images.
        output: the logits or scores.
    """

    def __init__(self, nodes: Iterable[Node], constants: Mapping[str, np.ndarray], input: Value, output: Value) -> None:
        self.nodes = list(nodes)
        self.constants = dict(constants)
        self.input = input
        self.output = output
        self._producers: dict[str, Node] | None = None
        self._readers: dict[str, list[Node]] = {}

    def copy(self) -> Graph:
        """The same graph to change apart; the constants' arrays are shared."""
        nodes = [Node(node.op, list(node.inputs), list(node.outputs), dict(node.attributes)) for node in self.nodes]
        return Graph(nodes, self.constants, self.input, self.output)

    def producer(self, name: str) -> Node | None:
        """The node that computes a tensor; None for the graph's input and constants."""
        return self._index().get(name)

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a tensor, each once."""
        self._index()
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> Node | None:
        """The one node that reads a tensor, or None when there are more, none, or it is the graph's output."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name != self.output.name else None

    def after(self, name: str) -> Node | None:
        """The node that is executed right after a tensor is known; None at the end."""
        producer = self.producer(name)
        position = 0 if producer is None else self.nodes.index(producer) + 1
        return self.nodes[position] if position < len(self.nodes) else None

    def constant(self, name: str) -> np.ndarray | None:
        """A constant's value; None for a computed tensor."""
        return self.constants.get(name)

    def fresh(self, stem: str) -> str:
        """A tensor name that is not in use."""
        taken = self._index().keys() | self.constants.keys() | {self.input.name}
        name, number = stem, 1
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        return name

    def add_constant(self, stem: str, value: np.ndarray) -> str:
        """Add an array; returns its name."""
        name = self.fresh(stem)
        self.constants[name] = np.asarray(value, order="C")
        return name

    def insert(
        self, op: str, inputs: Sequence[str], stem: str, *, before: Node | None = None, **attributes: object
    ) -> str:
        """Add a node with one output, before another one or at the end; returns the name of the output."""
        node = Node(op, list(inputs), [self.fresh(stem)], attributes)
        position = len(self.nodes) if before is None else self.nodes.index(before)
        self.nodes.insert(position, node)
        self._producers = None
        return node.output

    def remove(self, node: Node) -> None:
        """Take a node out; whoever read it must have been rewired."""
        self.nodes.remove(node)
        self._producers = None

    def set_input(self, node: Node, position: int, name: str) -> None:
        """Let a node read another tensor; a missing last input may be added."""
        node.inputs[position : position + 1] = [name]
        self._producers = None

    def set_output(self, node: Node, name: str) -> None:
        """Let a node write a tensor whose producer is removed."""
        node.outputs[0] = name
        self._producers = None

    def rewire(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`; the graph's output keeps its name."""
        for node in self.readers(old):
            node.inputs = [new if name == old else name for name in node.inputs]
        self._producers = None

    def bypass(self, node: Node) -> None:
        """Take out a node that passes its first input on."""
        source = node.inputs[0]
        if node.output != self.output.name:
            self.rewire(node.output, source)
            self.remove(node)
            return
        producer = self.producer(source)
        if producer is None or source not in producer.outputs:
            return
        self.remove(node)
        self.rewire(source, node.output)
        producer.outputs[producer.outputs.index(source)] = node.output
        self._producers = None

    def sweep(self) -> None:
        """Drop the nodes and constants that nothing reads."""
        needed = {self.output.name}
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}
        self._producers = None

    def _index(self) -> dict[str, Node]:
        if self._producers is None:
            readers: dict[str, list[Node]] = defaultdict(list)
            for node in self.nodes:
                for name in dict.fromkeys(node.inputs):
                    readers[name].append(node)
            self._readers = dict(readers)
            self._producers = {name: node for node in self.nodes for name in node.outputs}
        return self._producers


def load(path: str | Path) -> Graph:
    """Read a model with one input and one output.

    Raises:
        UserError: the file is no ONNX model, or has another number of inputs or outputs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise UserError(f"{path}: not an ONNX model: {error}") from error
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.initializer}
    inputs = [_value(item) for item in proto.input if item.name not in constants]
    if len(inputs) != 1 or len(proto.output) != 1:
        raise UserError(f"{path}: {len(inputs)} inputs and {len(proto.output)} outputs found, one of each is needed")
    nodes = []
    for item in proto.node:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in item.attribute}
        if item.op_type == "Constant":
            constants[item.output[0]] = _constant_value(attributes)
        else:
            nodes.append(Node(item.op_type, list(item.input), list(item.output), attributes))
    return Graph(nodes, constants, inputs[0], _value(proto.output[0]))


def save(graph: Graph, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model, whole or not at all, after ONNX's own check of it.

    Args:
        graph: what to write.
        path: the file.
        metadata: texts that travel in the file, under `metadata_props`.
    """
    import onnx

    model = to_proto(graph)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    with io.atomic(path) as partial:
        partial.write_bytes(model.SerializeToString())


def to_proto(graph: Graph, extra_outputs: Sequence[str] = ()) -> Any:
    """The `onnx.ModelProto`; `extra_outputs` are tensors inside the graph to hand out as well."""
    import onnx

    float_type = onnx.TensorProto.FLOAT
    outputs = [onnx.helper.make_tensor_value_info(graph.output.name, float_type, list(graph.output.shape))]
    outputs += [onnx.helper.make_tensor_value_info(name, float_type, None) for name in extra_outputs]
    proto = onnx.helper.make_graph(
        [onnx.helper.make_node(node.op, node.inputs, node.outputs, **node.attributes) for node in graph.nodes],
        "classifier",
        [onnx.helper.make_tensor_value_info(graph.input.name, float_type, list(graph.input.shape))],
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(proto, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="ppcls_compress")


def tensor_shapes(graph: Graph) -> dict[str, tuple[int | str, ...]]:
    """The shapes of computed tensors that follow from that of the input; a free dimension is its name or 0."""
    import onnx

    found = onnx.shape_inference.infer_shapes(to_proto(graph)).graph
    values = (_value(item) for item in (*found.input, *found.value_info, *found.output))
    return {value.name: value.shape for value in values}


def _value(info: Any) -> Value:
    dims = info.type.tensor_type.shape.dim
    return Value(info.name, tuple(dim.dim_param or dim.dim_value for dim in dims))


def _constant_value(attributes: Mapping[str, Any]) -> np.ndarray:
    import onnx

    (value,) = attributes.values()
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)

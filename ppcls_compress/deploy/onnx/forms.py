"""Forms that other tools give an ONNX graph, in float32 and for images [N, C, H, W]: half precision, other layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_FLOAT = onnx.TensorProto.FLOAT
_HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_FIRST_TO_LAST, _LAST_TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_TYPES = ("to", "dtype")
"""The attributes of operators that name the type of what they give."""


def tensors(graph: Any) -> Iterator[Any]:
    """Constants of a graph, those of nodes and of the graphs in them too."""
    for inner in _graphs(graph):
        yield from inner.initializer
        for attribute in _attributes(inner):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def is_half(graph: Any) -> bool:
    """Whether a graph computes with 16 bits somewhere."""
    taken = (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
    return any(tensor.data_type in _HALVES for tensor in tensors(graph)) or any(kind in _HALVES for kind in taken)


def widen(model: Any) -> None:
    """Let a model in half precision compute in float32, in place: its weights, inputs, answers and what lies between.

    Casts that then change nothing become identities.
    """
    for tensor in tensors(model.graph):
        if tensor.data_type in _HALVES:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for graph in _graphs(model.graph):
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in _HALVES:
                value.type.tensor_type.elem_type = _FLOAT
        for attribute in _attributes(graph):
            if attribute.name in _TYPES and attribute.i in _HALVES:
                attribute.i = _FLOAT
        del graph.value_info[:]
    _drop_casts(model)


def _drop_casts(model: Any) -> None:
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = (*inferred.value_info, *inferred.input)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == _FLOAT}
    floats |= {tensor.name for tensor in graph.initializer if tensor.data_type == _FLOAT}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in floats and node.attribute[0].i == _FLOAT:
            node.CopyFrom(helper.make_node("Identity", node.input, node.output, node.name))


def flatten_images(graph: Any, rows: Any) -> None:
    """Let an image be the input of a graph that takes `rows` of values, the only one left."""
    image = _new_input(graph, rows)
    graph.node.insert(0, helper.make_node("Flatten", [image], [rows.name], axis=1))


def turn_images(graph: Any, turned: Any) -> None:
    """Let an image [N, C, H, W] be the input of a graph that takes it `turned`, [N, H, W, C], the only one left.

    Where the graph turns it as its first step, as other tools' exporters write it, nothing is turned at all.
    """
    image = _new_input(graph, turned)
    for node in graph.node:
        order = next((tuple(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
        if node.op_type == "Transpose" and node.input[0] == turned.name and order == _LAST_TO_FIRST:
            node.CopyFrom(helper.make_node("Identity", [image], node.output, node.name))
    if any(turned.name in node.input for inner in _graphs(graph) for node in inner.node):
        graph.node.insert(0, helper.make_node("Transpose", [image], [turned.name], perm=_FIRST_TO_LAST))


def turned(images: np.ndarray) -> np.ndarray:
    """Images [N, C, H, W] as [N, H, W, C]."""
    return np.ascontiguousarray(images.transpose(_FIRST_TO_LAST))


def flatten_answer(graph: Any, classes: int) -> None:
    """Let a graph whose answer is [N, classes, 1, 1], as one that ends in pooling gives it, answer [N, classes]."""
    (answer,) = graph.output
    name = f"{answer.name}_flat"
    graph.node.append(helper.make_node("Flatten", [answer.name], [name], axis=1))
    first = answer.type.tensor_type.shape.dim[0].dim_param or None
    answer.CopyFrom(helper.make_tensor_value_info(name, _FLOAT, [first, classes]))


def _new_input(graph: Any, old: Any) -> str:
    name = f"{old.name}_image"
    image = helper.make_tensor_value_info(name, _FLOAT, [None, None, None, None])
    del graph.input[:]
    graph.input.append(image)
    return name


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for attribute in _attributes(graph):
        inner: Sequence[Any] = [attribute.g] if attribute.HasField("g") else attribute.graphs
        for found in inner:
            yield from _graphs(found)


def _attributes(graph: Any) -> Iterator[Any]:
    return (attribute for node in graph.node for attribute in node.attribute)

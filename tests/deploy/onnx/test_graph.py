from __future__ import annotations

import numpy as np
import pytest

from ppcls_compress.deploy.onnx import graph as onnx_graph
from ppcls_compress.deploy.onnx.graph import Graph, Node, Value
from ppcls_compress.errors import UserError


def chain(*ops: str) -> Graph:
    """x -> ops in a row -> y."""
    names = ["x", *(f"t{index}" for index in range(len(ops) - 1)), "y"]
    nodes = [Node(op, [names[index]], [names[index + 1]]) for index, op in enumerate(ops)]
    return Graph(nodes, {}, Value("x", ("n", 2)), Value("y", ("n", 2)))


def test_bypass_in_the_middle_rewires_the_readers():
    graph = chain("Relu", "Identity", "Abs")
    graph.bypass(graph.nodes[1])
    assert [(node.op, node.inputs) for node in graph.nodes] == [("Relu", ["x"]), ("Abs", ["t0"])]


def test_bypass_before_the_output_keeps_the_outputs_name():
    graph = chain("Relu", "Identity")
    graph.bypass(graph.nodes[1])
    assert [(node.op, node.outputs) for node in graph.nodes] == [("Relu", ["y"])]


def test_bypass_from_input_to_output_leaves_the_node():
    graph = chain("Identity")
    graph.bypass(graph.nodes[0])
    assert [node.op for node in graph.nodes] == ["Identity"]


def test_the_output_is_no_reader_but_keeps_its_producer():
    graph = chain("Relu", "Abs")
    assert graph.only_reader("t0").op == "Abs"
    assert graph.only_reader("y") is None
    graph.insert("Neg", ["x"], "dead")
    graph.add_constant("unused", np.zeros(2))
    graph.sweep()
    assert [node.op for node in graph.nodes] == ["Relu", "Abs"]
    assert graph.constants == {}


def test_new_names_do_not_collide():
    graph = chain("Relu")
    assert graph.add_constant("y", np.zeros(1)) == "y_1"
    assert graph.insert("Neg", ["y"], "y_1") == "y_1_1"


def test_a_scalar_constant_stays_a_scalar():
    graph = chain("Relu")
    assert graph.constants[graph.add_constant("one", np.float32(1))].shape == ()


def test_a_copy_is_changed_apart():
    graph = chain("Relu", "Abs")
    other = graph.copy()
    other.bypass(other.nodes[0])
    other.add_constant("c", np.zeros(1))
    assert [node.op for node in graph.nodes] == ["Relu", "Abs"]
    assert graph.constants == {}


def test_written_and_read_again(tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = chain("Relu")
    graph.insert("Add", ["x", graph.add_constant("one", np.ones(2, np.float32))], "unused")
    onnx_graph.save(graph, tmp_path / "model.onnx", {"layout": "ort"})
    again = onnx_graph.load(tmp_path / "model.onnx")
    assert [node.op for node in again.nodes] == ["Relu", "Add"]
    np.testing.assert_array_equal(again.constants["one"], [1, 1])
    assert again.input == Value("x", ("n", 2))
    model = onnx.load(tmp_path / "model.onnx")
    assert {item.key: item.value for item in model.metadata_props} == {"layout": "ort"}


def test_a_graph_that_onnx_refuses_leaves_no_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperator"):
        onnx_graph.save(chain("NoSuchOperator"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not protobuf at all")
    with pytest.raises(UserError, match=r"model\.onnx: not an ONNX model"):
        onnx_graph.load(path)

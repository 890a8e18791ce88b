from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx
import onnx_ir as ir
from support.onnx_graphs import node, ops, parse, run, value

from ppcls_compress.deploy.onnx import graph as graphs
from ppcls_compress.errors import UserError

SIDES = {"x": ("n", 2), "y": ("n", 2)}
RELU_ABS = "t = Relu(x)  y = Abs(t)"


def test_the_output_is_no_reader():
    model = parse(RELU_ABS, **SIDES)
    assert graphs.only_reader(value(model, "t")).op_type == "Abs"
    assert graphs.only_reader(value(model, "y")) is None


def test_a_node_that_reads_a_tensor_twice_is_one_reader():
    model = parse("t = Relu(x)  y = Add(t, t)", **SIDES)
    assert graphs.only_reader(value(model, "t")) is node(model, "Add")


def test_what_nothing_reads_is_dropped():
    model = parse("dead = Neg(x)  " + RELU_ABS, **SIDES, unused=np.zeros(2))
    graphs.sweep(model)
    assert ops(model) == ["Relu", "Abs"]
    assert not model.graph.initializers


def test_new_constants_do_not_take_the_name_of_others():
    graph = parse("y = Relu(x)", **SIDES).graph
    names = [graphs.add_constant(graph, "one", np.float32(number)).name for number in range(3)]
    assert names == ["one", "one_1", "one_2"]
    assert [float(graphs.constant(graph.initializers[name])) for name in names] == [0, 1, 2]


def test_a_scalar_constant_stays_a_scalar():
    graph = parse("y = Relu(x)", **SIDES).graph
    assert graphs.constant(graphs.add_constant(graph, "one", np.float32(1))).shape == ()


def test_a_node_is_inserted_right_after_its_tensor_is_known():
    model = parse(RELU_ABS, **SIDES)
    graphs.insert_after(value(model, "t"), "Neg", [value(model, "t")], "a")
    graphs.insert_after(value(model, "x"), "Exp", [value(model, "x")], "b")
    assert ops(model) == ["Exp", "Relu", "Neg", "Abs"]


def test_the_given_nodes_read_another_tensor_and_the_output_stays():
    model = parse("t = Relu(x)  u = Abs(t)  v = Neg(t)  y = Add(u, v)", **SIDES)
    graphs.redirect(value(model, "t"), value(model, "x"), [node(model, "Neg")])
    assert [item.inputs[0].name for item in model.graph] == ["x", "t", "x", "u"]
    graphs.redirect(value(model, "y"), value(model, "x"))
    assert model.graph.outputs[0].name == "y"


def test_names_are_unique_in_what_is_written():
    model = parse(RELU_ABS, **SIDES)
    graphs.insert_after(value(model, "t"), "Neg", [value(model, "t")], "t")
    graphs.redirect(value(model, "t"), model.graph[1].outputs[0], [node(model, "Abs")])
    np.testing.assert_array_equal(run(model, np.array([[-1, 2]], np.float32)), [[0, 2]])


def test_written_and_read_again(tmp_path):
    model = parse("t = Relu(x)  y = Add(t, one)", **SIDES, one=np.ones(2, np.float32))
    graphs.save(model, tmp_path / "model.onnx", {"layout": "ort"})
    again = graphs.load(tmp_path / "model.onnx")
    assert ops(again) == ["Relu", "Add"]
    np.testing.assert_array_equal(graphs.constant(again.graph.initializers["one"]), [1, 1])
    (images,) = again.graph.inputs
    assert (images.name, [str(size) for size in images.shape]) == ("x", ["n", "2"])
    written = onnx.load(tmp_path / "model.onnx")
    assert {item.key: item.value for item in written.metadata_props} == {"layout": "ort"}


def test_brief_names_are_short_and_the_ends_keep_theirs(tmp_path):
    body = "first_long = Add(x, weight_long)  second_long = Relu(first_long)  y = Add(second_long, a)"
    arrays = {"weight_long": np.array([1, 2], np.float32), "a": np.array([3, 4], np.float32)}
    model = parse(body, **SIDES, **arrays)
    graphs.save(model, tmp_path / "model.onnx", brief=True)
    written = onnx.load(tmp_path / "model.onnx").graph
    names = {name for node in written.node for name in (*node.input, *node.output)}
    assert (names, {node.name for node in written.node}) == ({"x", "y", *"abcd"}, {""})
    images = np.array([[-5, 1]], np.float32)
    np.testing.assert_array_equal(run(graphs.load(tmp_path / "model.onnx"), images), [[3, 7]])


def test_brief_names_reach_into_inner_graphs(tmp_path):
    then, other = (f"() => (float[n, 2] inner_long) {{ inner_long = {op}(outer_long) }}" for op in ("Neg", "Abs"))
    body = f"outer_long = Relu(x)  y = If <then_branch = g {then}, else_branch = h {other}> (yes)"
    model = parse(body, **SIDES, yes=np.array(True))
    graphs.save(model, tmp_path / "model.onnx", brief=True)
    np.testing.assert_array_equal(run(graphs.load(tmp_path / "model.onnx"), np.array([[-1, 2]], np.float32)), [[0, -2]])
    assert b"long" not in (tmp_path / "model.onnx").read_bytes()


def test_there_are_short_names_enough_and_none_twice():
    names = list(itertools.islice(graphs._short_names(), 5000))
    assert (names[:2], names[52], len(set(names))) == (["a", "b"], "aa", 5000)


def test_nothing_of_the_passes_is_written():
    model = parse(RELU_ABS, **SIDES)
    graphs.infer_shapes(model)
    node(model, "Relu").metadata_props["pass"] = "a rule"
    proto = graphs.to_proto(model)
    assert not proto.graph.value_info
    assert not any(item.metadata_props for item in proto.graph.node)


def test_constants_of_all_kinds_are_read_as_initializers(tmp_path):
    body = "a = Constant <value_float = 2.0> ()  b = Constant <value = float[1] {3.0}> ()  c = Add(a, b)  y = Mul(x, c)"
    onnx.save(ir.to_proto(parse(body, **SIDES)), tmp_path / "model.onnx")
    model = graphs.load(tmp_path / "model.onnx")
    assert ops(model) == ["Add", "Mul"]
    assert set(model.graph.initializers) == {"a", "b"}


def test_a_graph_that_onnx_refuses_leaves_no_file(tmp_path):
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperator"):
        graphs.save(parse("y = NoSuchOperator(x)", **SIDES), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not protobuf at all")
    with pytest.raises(UserError, match=r"model\.onnx: not an ONNX model"):
        graphs.load(path)


def test_a_model_of_several_outputs_is_refused(tmp_path):
    model = parse(RELU_ABS, **SIDES)
    model.graph.outputs.append(value(model, "t"))
    value(model, "t").type = ir.TensorType(ir.DataType.FLOAT)
    onnx.save(ir.to_proto(model), tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"1 inputs and 2 outputs found, one of each is needed"):
        graphs.load(tmp_path / "model.onnx")

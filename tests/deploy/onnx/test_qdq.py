from __future__ import annotations

import numpy as np
import pytest

from ppcls_compress.deploy.onnx import qdq
from ppcls_compress.deploy.onnx.graph import Graph, Node, Value


def layer() -> Graph:
    """x [n, 2] -> Gemm with bias -> y [n, 2]; a second reader of x."""
    nodes = [Node("Gemm", ["x", "w", "b"], ["g"]), Node("Add", ["g", "x"], ["y"])]
    weights = {"w": np.eye(2, dtype=np.float32), "b": np.array([1.0, -2.0], np.float32)}
    return Graph(nodes, weights, Value("x", ("n", 2)), Value("y", ("n", 2)))


@pytest.mark.parametrize(
    ("low", "high", "zero"), [(-1.0, 1.0, 128), (0.5, 2.0, 0), (-2.0, -0.5, 255), (0.0, 0.0, 0), (-3.0, 1.0, 191)]
)
def test_a_grid_between_two_values_holds_them_and_zero(low, high, zero):
    grid = qdq.Grid.between(low, high)
    assert grid.scale > 0
    assert grid.zero_point == zero
    integers = np.array([0, 255]) - grid.zero_point
    smallest, largest = integers * grid.scale
    assert smallest <= min(low, 0.0) + grid.scale
    assert largest >= max(high, 0.0) - grid.scale


def test_only_the_given_readers_read_the_rounded_tensor():
    graph = layer()
    gemm, add = graph.nodes
    rounded = qdq.quantize_tensor(graph, "x", qdq.Grid.unsigned(1.0), [gemm])
    assert gemm.inputs[0] == rounded
    assert add.inputs[1] == "x"
    assert [node.op for node in graph.nodes] == ["QuantizeLinear", "DequantizeLinear", "Gemm", "Add"]


def test_a_channel_of_zeros_gets_a_scale_that_runtimes_can_divide_by():
    graph = layer()
    gemm = graph.nodes[0]
    qdq.quantize_weight(graph, gemm, np.eye(2, dtype=np.int8), np.array([0.0, 0.5], np.float32), axis=1)
    dequantize = graph.producer(gemm.inputs[1])
    assert dequantize.attributes == {"axis": 1}
    np.testing.assert_array_equal(graph.constants[dequantize.inputs[1]], [1.0, 0.5])
    assert "w" not in graph.constants


def test_one_scale_for_a_whole_weight_is_a_scalar_without_axis():
    graph = layer()
    qdq.quantize_weight(graph, graph.nodes[0], np.eye(2, dtype=np.int8), np.array([0.5], np.float32), axis=1)
    dequantize = graph.nodes[0]
    assert dequantize.attributes == {}
    assert graph.constants[dequantize.inputs[1]].shape == ()


def test_a_bias_beyond_32_bits_is_the_nearest_that_fits():
    graph = layer()
    gemm = graph.nodes[0]
    qdq.quantize_bias(graph, gemm, np.array([1e-3, 1e-12]))
    integers = graph.constants[graph.producer(gemm.inputs[2]).inputs[0]]
    assert integers.tolist() == [1000, np.iinfo(np.int32).min]


def test_clipping_concerns_one_reader():
    graph = layer()
    gemm, add = graph.nodes
    qdq.clip(graph, gemm, -0.5, 0.5)
    assert graph.producer(gemm.inputs[0]).op == "Clip"
    assert add.inputs[1] == "x"


def test_equal_zero_points_are_stored_once():
    graph = layer()
    for name in ("x", "g"):
        qdq.quantize_tensor(graph, name, qdq.Grid.shifted(1.0))
    zeros = {node.inputs[2] for node in graph.nodes if node.op == "QuantizeLinear"}
    assert len(zeros) == 1

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from support.onnx_graphs import node, ops, parse, value

from ppcls_compress.deploy.onnx import qdq
from ppcls_compress.deploy.onnx.graph import computed_by, constant


def layer() -> ir.Model:
    """x [n, 2] -> Gemm with bias -> y [n, 2]; a second reader of x."""
    weights = {"w": np.eye(2, dtype=np.float32), "b": np.array([1.0, -2.0], np.float32)}
    return parse("g = Gemm(x, w, b)  y = Add(g, x)", x=("n", 2), y=("n", 2), **weights)


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
    model = layer()
    gemm, add = model.graph
    rounded = qdq.quantize_tensor(value(model, "x"), qdq.Grid.unsigned(1.0), [gemm])
    assert gemm.inputs[0] is rounded
    assert add.inputs[1].name == "x"
    assert ops(model) == ["QuantizeLinear", "DequantizeLinear", "Gemm", "Add"]


def test_all_readers_but_the_pair_itself_read_the_rounded_tensor():
    model = layer()
    gemm, add = model.graph
    rounded = qdq.quantize_tensor(value(model, "x"), qdq.Grid.unsigned(1.0))
    assert gemm.inputs[0] is add.inputs[1] is rounded
    assert node(model, "QuantizeLinear").inputs[0].name == "x"


def test_a_channel_of_zeros_gets_a_scale_that_runtimes_can_divide_by():
    gemm = node(layer(), "Gemm")
    qdq.quantize_weight(gemm, np.eye(2, dtype=np.int8), np.array([0.0, 0.5], np.float32), axis=1)
    dequantize = gemm.inputs[1].producer()
    assert dequantize.attributes.get_int("axis") == 1
    np.testing.assert_array_equal(constant(dequantize.inputs[1]), [1.0, 0.5])


def test_one_scale_for_a_whole_weight_is_a_scalar_without_axis():
    gemm = node(layer(), "Gemm")
    qdq.quantize_weight(gemm, np.eye(2, dtype=np.int8), np.array([0.5], np.float32), axis=1)
    dequantize = gemm.inputs[1].producer()
    assert not dequantize.attributes
    assert constant(dequantize.inputs[1]).shape == ()


def test_a_bias_beyond_32_bits_is_the_nearest_that_fits():
    gemm = node(layer(), "Gemm")
    qdq.quantize_bias(gemm, np.array([1e-3, 1e-12]))
    integers = constant(gemm.inputs[2].producer().inputs[0])
    assert integers.tolist() == [1000, np.iinfo(np.int32).min]


def test_clipping_concerns_one_reader():
    gemm, add = layer().graph
    qdq.clip(gemm, -0.5, 0.5)
    assert computed_by(gemm.inputs[0]) == "Clip"
    assert add.inputs[1].name == "x"


def test_equal_zero_points_are_stored_once():
    model = layer()
    for name in ("x", "g"):
        qdq.quantize_tensor(value(model, name), qdq.Grid.shifted(1.0))
    zeros = {item.inputs[2] for item in model.graph if item.op_type == "QuantizeLinear"}
    assert len(zeros) == 1

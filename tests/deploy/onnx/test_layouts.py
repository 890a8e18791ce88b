from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from support.onnx_graphs import node, parse, value

from ppcls_compress.deploy.onnx import graph as graphs
from ppcls_compress.deploy.onnx import place_openvino, place_ort
from ppcls_compress.deploy.onnx.graph import constant
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode

LIMITS = {"conv0": 2.0, "conv1": 1.5, "conv2": 1.0, "fc": 0.5}
POOLING = "pooled = MaxPool <kernel_shape = [2, 2]> (sum)"
SUM = "sum = Add(conv1, conv2)"


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def network(*, between: str = "", sum: str = SUM, pooling: str = POOLING, mean: str = "GlobalAveragePool") -> ir.Model:
    """Two convolutions with a ReLU and a shortcut, a third that reads the same as the second, pooling, a classifier."""
    body = (
        "conv0 = Conv <kernel_shape = [1, 1]> (x, w0, b0)  relu0 = Relu(conv0)"
        "  conv1 = Conv <kernel_shape = [1, 1]> (relu0, w1, b1)  conv2 = Conv <kernel_shape = [1, 1]> (relu0, w2, b2)"
        f"  {between}  {sum}  {pooling}  mean = {mean}(pooled)  flat = Flatten(mean)  y = Gemm(flat, wf, bf)"
    )
    weights = {f"w{index}": rng().standard_normal((3, 3, 1, 1)).astype(np.float32) for index in range(3)}
    biases = {f"b{index}": np.array([0.1, -0.2, 0.3], np.float32) for index in range(3)}
    linear = {"wf": rng().standard_normal((3, 5)).astype(np.float32), "bf": np.ones(5, np.float32)}
    return parse(body, x=("n", 3, 4, 4), y=("n", 5), **weights, **biases, **linear)


def quantized(
    model: ir.Model, *, bits: int = 8, clip: float | None = None, unsigned: bool = False
) -> list[QuantizedNode]:
    """All weighted nodes, weights on a grid of one scale per channel."""
    found = []
    for layer in model.graph:
        if layer.op_type not in ("Conv", "Gemm"):
            continue
        name, axis = ("fc", 1) if layer.op_type == "Gemm" else (layer.outputs[0].name, 0)
        weight = constant(layer.inputs[1])
        others = tuple(index for index in range(weight.ndim) if index != axis)
        scale = np.abs(weight).max(axis=others) / 127
        shape = [-1 if index == axis else 1 for index in range(weight.ndim)]
        integers = np.rint(weight / scale.reshape(shape)).astype(np.int8)
        inputs = InputRange(LIMITS[name], bits, unsigned and name in ("conv1", "conv2"), clip)
        found.append(QuantizedNode(name, layer, inputs, integers, scale.astype(np.float32), axis))
    return found


def observe(names, by_channel=()) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return dict.fromkeys(names, (np.array([-3.0]), np.array([4.0])))


def run(model: ir.Model, x: np.ndarray, extra: tuple[str, ...] = ()) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = graphs.to_proto(model)
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in extra)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})


def pairs(model: ir.Model) -> dict[str, tuple[str, int, float]]:
    """Type, zero point and scale of the pair on each computed tensor; several pairs get a number."""
    found = {}
    for item in model.graph:
        if item.op_type == "QuantizeLinear":
            source = item.inputs[0].name
            scale, zero = (constant(operand) for operand in item.inputs[1:])
            found[source if source not in found else f"{source} again"] = (str(zero.dtype), int(zero), float(scale))
    return found


def layers(model: ir.Model) -> list[ir.Node]:
    return [item for item in model.graph if item.op_type in ("Conv", "Gemm")]


def test_openvino_rounds_what_layers_read_and_nothing_else():
    model = network()
    place_openvino.place(quantized(model))
    found = pairs(model)
    assert sorted(found) == ["flat", "relu0", "relu0 again", "x"]
    assert found["x"] == ("int8", 0, pytest.approx(2.0 / 127))
    assert found["relu0"][2] != found["relu0 again"][2]
    assert all(kind == "int8" and zero == 0 for kind, zero, _ in found.values())
    assert all(constant(layer.inputs[2]).dtype == np.float32 for layer in layers(model))


def test_openvino_shares_the_pair_of_equal_grids():
    model = network()
    nodes = quantized(model, unsigned=True)
    same = [dataclasses.replace(item, input=nodes[1].input) if item.name == "conv2" else item for item in nodes]
    place_openvino.place(same)
    assert pairs(model)["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert "relu0 again" not in pairs(model)


def test_openvino_computes_what_training_computed():
    model, x = network(), rng().standard_normal((2, 3, 4, 4)).astype(np.float32)
    nodes = quantized(model)
    weights = {item.name: item.integers * item.scale.reshape([-1, 1, 1, 1]) for item in nodes if item.name != "fc"}
    bias = constant(value(model, "b0"))
    place_openvino.place(nodes)
    _, conv0 = run(model, x, ("conv0",))
    rounded = np.rint(x / (2.0 / 127)).clip(-128, 127) * (2.0 / 127)
    expected = np.einsum("oi,nihw->nohw", weights["conv0"][..., 0, 0], rounded) + bias.reshape(3, 1, 1)
    np.testing.assert_allclose(conv0, expected, atol=1e-5)


def test_openvino_rounds_the_pieces_of_a_concatenation_as_unsigned():
    model = network(
        sum="sum = Concat <axis = 2> (conv1, conv2)", pooling="pooled = Conv <kernel_shape = [1, 1]> (sum, w2, b2)"
    )
    signed, last = InputRange(1.0, 8, False, None), value(model, "pooled").producer()
    place_openvino.place([QuantizedNode("last", last, signed, np.ones((3, 3, 1, 1), np.int8), np.ones(3, "f"), 0)])
    assert pairs(model) == {
        "conv1": ("uint8", 128, pytest.approx(1 / 127)),
        "conv2": ("uint8", 128, pytest.approx(1 / 127)),
    }


def test_ort_has_one_unsigned_grid_per_tensor_and_integer_biases():
    model = network()
    notes = place_ort.place(model, quantized(model), observe)
    found = pairs(model)
    assert sorted(found) == ["conv1", "conv2", "flat", "mean", "pooled", "relu0", "sum", "x"]
    assert {kind for kind, _, _ in found.values()} == {"uint8"}
    assert found["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert found["x"] == ("uint8", 128, pytest.approx(2.0 / 127))
    assert found["sum"] == found["pooled"] == ("uint8", 109, pytest.approx(7.0 / 255))
    assert found["mean"] == found["flat"] == ("uint8", 128, pytest.approx(0.5 / 127))
    biases = [layer.inputs[2].producer() for layer in layers(model)]
    assert all(constant(bias.inputs[0]).dtype == np.int32 for bias in biases)
    (note,) = notes
    assert note.startswith("conv2: reads a tensor with conv1")


@pytest.mark.parametrize("limit", [1.0, 1.5])
def test_ort_keeps_the_grid_of_a_layer_with_fewer_bits_that_shares_a_tensor(limit):
    model = network()
    nodes = [
        dataclasses.replace(item, input=InputRange(limit, 4, False, None)) if item.name == "conv2" else item
        for item in quantized(model)
    ]
    assert not place_ort.place(model, nodes, observe)
    found = pairs(model)
    assert found["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert found["relu0.clipped"][2] == pytest.approx(limit / 7)


def test_ort_result_stays_near_the_exact_layout():
    x = 0.1 * rng().standard_normal((8, 3, 4, 4)).astype(np.float32)  # inside every range

    def look(names, by_channel):
        values = run(network(), x, tuple(names))[1:]
        return {name: ends(value) for name, value in zip(names, values, strict=True)}

    def ends(value):
        return np.array([value.min()]), np.array([value.max()])

    exact, fast = network(), network()
    place_openvino.place(quantized(exact))
    place_ort.place(fast, quantized(fast), look)
    assert np.abs(run(fast, x)[0] - run(exact, x)[0]).mean() < 0.03


@pytest.mark.parametrize("layout", ["openvino", "ort"])
def test_few_bits_and_a_binding_alpha_are_clipped_before_rounding(layout):
    for settings, high in (({"bits": 4}, 2.0), ({"clip": 0.7}, 0.7)):
        model = network()
        nodes = quantized(model, **settings)
        if layout == "ort":
            place_ort.place(model, nodes, observe)
        else:
            place_openvino.place(nodes)
        assert float(constant(node(model, "Clip").inputs[2])) == pytest.approx(high)


def test_a_bias_far_above_its_weights_survives():
    model = network()
    nodes = quantized(model)
    value(model, "b0").const_value = ir.tensor(np.full(3, 5.0, np.float32))
    nodes[0].scale[:] = [1e-12, 0.0, 1e-2]
    place_ort.place(model, nodes, observe)
    integers, scale = (constant(operand) for operand in layers(model)[0].inputs[2].producer().inputs[:2])
    np.testing.assert_allclose(integers * scale, 5.0, rtol=1e-3)


def test_what_cannot_be_negative_is_found_through_operators():
    model = network()
    assert place_ort.non_negative(value(model, "relu0"))
    assert not place_ort.non_negative(value(model, "sum"))
    assert not place_ort.non_negative(value(model, "x"))


def test_a_gate_keeps_its_whole_range_on_one_unsigned_grid():
    model = network(
        between="zero = Constant <value_float = 0.0> ()  one = Constant <value_float = 1.0> ()"
        "  gate = Clip(conv1, zero, one)",
        sum="sum = Add(gate, conv2)",
    )
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    place_ort.place(model, quantized(model), observe)
    found = pairs(model)
    assert found["gate"] == ("uint8", 0, pytest.approx(1 / 255))
    assert "conv1" not in found


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("HardSwish", (-3.0, 4.0)),
        ("HardSigmoid <alpha = 0.25, beta = 0.5>", (-2.0, 2.0)),
        ("Sigmoid", (-10.0, 4.0)),
    ],
)
def test_a_range_ends_where_its_reader_is_constant(op, expected):
    model = network(between=f"activated = {op} (conv1)", sum="sum = Add(activated, conv2)")
    seen = (np.array([-10.0]), np.array([4.0]))
    place_ort.place(model, quantized(model), lambda names, by_channel: dict.fromkeys(names, seen))
    _, zero, scale = pairs(model)["conv1"]
    low, high = expected
    assert scale == pytest.approx((high - low) / 255)
    assert -zero * scale == pytest.approx(low, abs=scale)


def test_ort_leaves_the_result_and_what_feeds_a_float_operator_alone():
    model = network(mean="ReduceMean <axes = [2, 3]> ")  # has no integer kernel
    place_ort.place(model, quantized(model), observe)
    assert sorted(pairs(model)) == ["conv1", "conv2", "flat", "pooled", "relu0", "sum", "x"]

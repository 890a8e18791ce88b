from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ppcls_compress.deploy.onnx import place_openvino, place_ort
from ppcls_compress.deploy.onnx.graph import Graph, Node, Value, to_proto
from ppcls_compress.deploy.onnx.layers import InputRange, QuantizedNode

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
LIMITS = {"conv0": 2.0, "conv1": 1.5, "conv2": 1.0, "fc": 0.5}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def network() -> Graph:
    """Two convolutions with a ReLU and a shortcut, a third that reads the same as the second, pooling, a classifier."""
    pointwise = {"kernel_shape": [1, 1]}
    weights = {f"w{index}": rng().standard_normal((3, 3, 1, 1)).astype(np.float32) for index in range(3)}
    biases = {f"b{index}": np.array([0.1, -0.2, 0.3], np.float32) for index in range(3)}
    return Graph(
        [
            Node("Conv", ["x", "w0", "b0"], ["conv0"], pointwise),
            Node("Relu", ["conv0"], ["relu0"]),
            Node("Conv", ["relu0", "w1", "b1"], ["conv1"], pointwise),
            Node("Conv", ["relu0", "w2", "b2"], ["conv2"], pointwise),
            Node("Add", ["conv1", "conv2"], ["sum"]),
            Node("MaxPool", ["sum"], ["pooled"], {"kernel_shape": [2, 2]}),
            Node("GlobalAveragePool", ["pooled"], ["mean"]),
            Node("Flatten", ["mean"], ["flat"], {"axis": 1}),
            Node("Gemm", ["flat", "wf", "bf"], ["logits"]),
        ],
        {**weights, **biases, "wf": rng().standard_normal((3, 5)).astype(np.float32), "bf": np.ones(5, np.float32)},
        Value("x", ("n", 3, 4, 4)),
        Value("logits", ("n", 5)),
    )


def quantized(graph: Graph, *, bits: int = 8, clip: float | None = None, unsigned: bool = False) -> list[QuantizedNode]:
    """All weighted nodes, weights on a grid of one scale per channel."""
    found = []
    for node in graph.nodes:
        if node.op not in ("Conv", "Gemm"):
            continue
        name, axis = ("fc", 1) if node.op == "Gemm" else (node.output, 0)
        weight = graph.constants[node.inputs[1]]
        others = tuple(index for index in range(weight.ndim) if index != axis)
        scale = np.abs(weight).max(axis=others) / 127
        shape = [-1 if index == axis else 1 for index in range(weight.ndim)]
        integers = np.rint(weight / scale.reshape(shape)).astype(np.int8)
        inputs = InputRange(LIMITS[name], bits, unsigned and name in ("conv1", "conv2"), clip)
        found.append(QuantizedNode(name, node, inputs, integers, scale.astype(np.float32), axis))
    return found


def observe(names) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names, (-3.0, 4.0))


def run(graph: Graph, x: np.ndarray, extra: tuple[str, ...] = ()) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(to_proto(graph, extra).SerializeToString(), options).run(None, {"x": x})


def pairs(graph: Graph) -> dict[str, tuple[str, int, float]]:
    """Type, zero point and scale of the pair on each computed tensor; several pairs get a number."""
    found = {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            source, scale, zero = node.inputs
            value = (str(graph.constants[zero].dtype), int(graph.constants[zero]), float(graph.constants[scale]))
            found[source if source not in found else f"{source} again"] = value
    return found


def test_openvino_rounds_what_layers_read_and_nothing_else():
    graph = network()
    place_openvino.place(graph, quantized(graph))
    found = pairs(graph)
    assert sorted(found) == ["flat", "relu0", "relu0 again", "x"]
    assert found["x"] == ("int8", 0, pytest.approx(2.0 / 127))
    assert found["relu0"][2] != found["relu0 again"][2]
    assert all(kind == "int8" and zero == 0 for kind, zero, _ in found.values())
    biases = [node for node in graph.nodes if node.op in ("Conv", "Gemm")]
    assert all(graph.constants[node.inputs[2]].dtype == np.float32 for node in biases)


def test_openvino_shares_the_pair_of_equal_grids():
    graph = network()
    nodes = quantized(graph, unsigned=True)
    for item in nodes:
        if item.name == "conv2":
            object.__setattr__(item, "input", nodes[1].input)
    place_openvino.place(graph, nodes)
    assert pairs(graph)["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert "relu0 again" not in pairs(graph)


def test_openvino_computes_what_training_computed():
    graph, x = network(), rng().standard_normal((2, 3, 4, 4)).astype(np.float32)
    nodes = quantized(graph)
    weights = {item.name: item.integers * item.scale.reshape([-1, 1, 1, 1]) for item in nodes if item.name != "fc"}
    place_openvino.place(graph, nodes)
    _, conv0 = run(graph, x, ("conv0",))
    rounded = np.rint(x / (2.0 / 127)).clip(-128, 127) * (2.0 / 127)
    expected = np.einsum("oi,nihw->nohw", weights["conv0"][..., 0, 0], rounded) + graph.constants["b0"].reshape(3, 1, 1)
    np.testing.assert_allclose(conv0, expected, atol=1e-5)


def test_openvino_rounds_the_pieces_of_a_concatenation_as_unsigned():
    graph = network()
    add = next(node for node in graph.nodes if node.op == "Add")
    add.op, add.attributes = "Concat", {"axis": 2}
    pool = next(node for node in graph.nodes if node.op == "MaxPool")
    pool.op, pool.attributes = "Conv", {"kernel_shape": [1, 1]}
    graph.constants["w3"] = graph.constants["w2"]
    pool.inputs = ["sum", "w3", "b2"]
    signed = InputRange(1.0, 8, False, None)
    last = QuantizedNode("last", pool, signed, np.ones((3, 3, 1, 1), np.int8), np.ones(3, np.float32), 0)
    place_openvino.place(graph, [last])
    assert pairs(graph) == {
        "conv1": ("uint8", 128, pytest.approx(1 / 127)),
        "conv2": ("uint8", 128, pytest.approx(1 / 127)),
    }


def test_ort_has_one_unsigned_grid_per_tensor_and_integer_biases():
    graph = network()
    notes = place_ort.place(graph, quantized(graph), observe)
    found = pairs(graph)
    assert sorted(found) == ["conv1", "conv2", "flat", "mean", "pooled", "relu0", "sum", "x"]
    assert {kind for kind, _, _ in found.values()} == {"uint8"}
    assert found["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert found["x"] == ("uint8", 128, pytest.approx(2.0 / 127))
    assert found["sum"] == found["pooled"] == ("uint8", 109, pytest.approx(7.0 / 255))
    assert found["mean"] == found["flat"] == ("uint8", 128, pytest.approx(0.5 / 127))
    biases = [graph.producer(node.inputs[2]) for node in graph.nodes if node.op in ("Conv", "Gemm")]
    assert all(graph.constants[node.inputs[0]].dtype == np.int32 for node in biases)
    (note,) = notes
    assert note.startswith("conv2: reads a tensor with conv1")


@pytest.mark.parametrize("limit", [1.0, 1.5])
def test_ort_keeps_the_grid_of_a_layer_with_fewer_bits_that_shares_a_tensor(limit):
    graph = network()
    nodes = [
        dataclasses.replace(item, input=InputRange(limit, 4, False, None)) if item.name == "conv2" else item
        for item in quantized(graph)
    ]
    assert not place_ort.place(graph, nodes, observe)
    found = pairs(graph)
    assert found["relu0"] == ("uint8", 0, pytest.approx(1.5 / 255))
    assert found["relu0.clipped"][2] == pytest.approx(limit / 7)


def test_ort_result_stays_near_the_exact_layout():
    x = 0.1 * rng().standard_normal((8, 3, 4, 4)).astype(np.float32)  # inside every range

    def look(names):
        values = run(network(), x, tuple(names))[1:]
        return {name: (value.min(), value.max()) for name, value in zip(names, values, strict=True)}

    exact, fast = network(), network()
    place_openvino.place(exact, quantized(exact))
    place_ort.place(fast, quantized(fast), look)
    assert np.abs(run(fast, x)[0] - run(exact, x)[0]).mean() < 0.03


@pytest.mark.parametrize("layout", ["openvino", "ort"])
def test_few_bits_and_a_binding_alpha_are_clipped_before_rounding(layout):
    for settings, high in (({"bits": 4}, 2.0), ({"clip": 0.7}, 0.7)):
        graph = network()
        nodes = quantized(graph, **settings)
        if layout == "ort":
            place_ort.place(graph, nodes, observe)
        else:
            place_openvino.place(graph, nodes)
        first = next(node for node in graph.nodes if node.op == "Clip")
        assert float(graph.constants[first.inputs[2]]) == pytest.approx(high)


def test_a_bias_far_above_its_weights_survives():
    graph = network()
    nodes = quantized(graph)
    graph.constants["b0"][:] = [5.0, 5.0, 5.0]
    nodes[0].scale[:] = [1e-12, 0.0, 1e-2]
    place_ort.place(graph, nodes, observe)
    bias = graph.producer(next(node for node in graph.nodes if node.op == "Conv").inputs[2])
    integers, scale = (graph.constants[name] for name in bias.inputs[:2])
    np.testing.assert_allclose(integers * scale, 5.0, rtol=1e-3)


def test_what_cannot_be_negative_is_found_through_operators():
    graph = network()
    assert place_ort.non_negative(graph, "relu0")
    assert not place_ort.non_negative(graph, "sum")
    assert not place_ort.non_negative(graph, "x")


def test_a_gate_keeps_its_whole_range_on_one_unsigned_grid():
    graph = network()
    low, high = (graph.add_constant("bound", np.float32(value)) for value in (0, 1))
    graph.insert("Clip", ["conv1", low, high], "gate", before=graph.nodes[4])
    graph.set_input(graph.nodes[5], 0, "gate")
    place_ort.place(graph, quantized(graph), observe)
    found = pairs(graph)
    assert found["gate"] == ("uint8", 0, pytest.approx(1 / 255))
    assert "conv1" not in found


@pytest.mark.parametrize(
    ("op", "attributes", "expected"),
    [
        ("HardSwish", {}, (-3.0, 4.0)),
        ("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, (-2.0, 2.0)),
        ("Sigmoid", {}, (-10.0, 4.0)),
    ],
)
def test_a_range_ends_where_its_reader_is_constant(op, attributes, expected):
    graph = network()
    graph.insert(op, ["conv1"], "activated", before=graph.nodes[4], **attributes)
    graph.set_input(graph.nodes[5], 0, "activated")
    place_ort.place(graph, quantized(graph), lambda names: dict.fromkeys(names, (-10.0, 4.0)))
    _, zero, scale = pairs(graph)["conv1"]
    low, high = expected
    assert scale == pytest.approx((high - low) / 255)
    assert -zero * scale == pytest.approx(low, abs=scale)


def test_ort_leaves_the_result_and_what_feeds_a_float_operator_alone():
    graph = network()
    pool = next(node for node in graph.nodes if node.op == "GlobalAveragePool")
    pool.op, pool.attributes = "ReduceMean", {"axes": [2, 3]}  # has no integer kernel
    place_ort.place(graph, quantized(graph), observe)
    assert sorted(pairs(graph)) == ["conv1", "conv2", "flat", "pooled", "relu0", "sum", "x"]

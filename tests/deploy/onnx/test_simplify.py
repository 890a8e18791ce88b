from __future__ import annotations

import numpy as np
import pytest

from ppcls_compress.deploy.onnx.graph import Graph, Node, Value, to_proto
from ppcls_compress.deploy.onnx.simplify import simplify

pytest.importorskip("onnx")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(to_proto(graph)).run(None, {"x": x})[0]


def simplified(graph: Graph, x: np.ndarray):
    """The operators left and what `simplify` found; the result must not change."""
    before = run(graph, x)
    folded = simplify(graph)
    np.testing.assert_allclose(run(graph, x), before, rtol=1e-4, atol=1e-5)
    return [node.op for node in graph.nodes], folded


def convolution(*after: Node, last: str, **constants: np.ndarray) -> Graph:
    """x [n, 3, 5, 5] -> convolution to 4 channels -> `after`."""
    nodes = [Node("Conv", ["x", "w"], ["conv"], {"kernel_shape": [3, 3]}), *after]
    weights = {"w": random(4, 3, 3, 3), **constants}
    return Graph(nodes, weights, Value("x", ("n", 3, 5, 5)), Value(last, ("n", 4, 3, 3)))


NORM = {
    "gamma": np.array([1, -2, 0.5, 0], np.float32),
    "beta": random(4),
    "mean": random(4) + 1,
    "variance": np.array([1, 2, 0.1, 3], np.float32),
}


def norm(source: str, target: str) -> Node:
    return Node("BatchNormalization", [source, *NORM], [target], {"epsilon": 1e-3})


def test_bias_norm_and_scale_are_folded_into_the_convolution():
    bias = random(4, 1, 1)
    graph = convolution(
        Node("Add", ["conv", "bias"], ["sum"]),
        norm("sum", "normed"),
        Node("Mul", ["normed", "half"], ["scaled"]),
        last="scaled",
        bias=bias,
        half=np.float32(0.5),
        **NORM,
    )
    ops, folded = simplified(graph, random(2, 3, 5, 5))
    assert ops == ["Conv"]
    origin = folded["scaled"]
    assert origin.parameter == "w"
    np.testing.assert_allclose(origin.factor, 0.5 * NORM["gamma"] / np.sqrt(NORM["variance"] + 1e-3), rtol=1e-6)


def test_nothing_is_folded_when_the_convolution_is_read_twice():
    graph = convolution(norm("conv", "normed"), Node("Add", ["conv", "normed"], ["sum"]), last="sum", **NORM)
    ops, folded = simplified(graph, random(2, 3, 5, 5))
    assert ops == ["Conv", "BatchNormalization", "Add"]
    np.testing.assert_array_equal(folded["conv"].factor, np.ones(4))


def test_an_addition_that_varies_in_space_stays():
    graph = convolution(Node("Add", ["conv", "map"], ["sum"]), last="sum", map=random(1, 4, 3, 3))
    assert simplified(graph, random(2, 3, 5, 5))[0] == ["Conv", "Add"]


def test_a_vector_along_the_width_is_no_bias():
    graph = convolution(Node("Add", ["conv", "row"], ["sum"]), last="sum", row=random(3))
    assert simplified(graph, random(2, 3, 5, 5))[0] == ["Conv", "Add"]


def test_two_convolutions_that_share_a_weight_get_one_each():
    graph = convolution(
        norm("conv", "normed"),
        Node("Conv", ["x", "w"], ["other"], {"kernel_shape": [3, 3]}),
        Node("Add", ["normed", "other"], ["sum"]),
        last="sum",
        **NORM,
    )
    ops, folded = simplified(graph, random(2, 3, 5, 5))
    assert ops == ["Conv", "Conv", "Add"]
    assert {item.parameter for item in folded.values()} == {"w"}


@pytest.mark.parametrize(("slope", "expected"), [(1 / 6, ["Conv", "HardSwish"]), (0.2, ["Conv", "HardSigmoid", "Mul"])])
def test_hard_swish_gets_its_name_only_with_its_slope(slope, expected):
    graph = convolution(
        Node("HardSigmoid", ["conv"], ["gate"], {"alpha": slope, "beta": 0.5}),
        Node("Mul", ["conv", "gate"], ["swish"]),
        last="swish",
    )
    assert simplified(graph, random(2, 3, 5, 5))[0] == expected


def test_classifier_head_becomes_flatten_and_gemm():
    graph = Graph(
        [
            Node("GlobalAveragePool", ["x"], ["mean"]),
            Node("Shape", ["mean"], ["shape"]),
            Node("Slice", ["shape", "zero", "one"], ["batch"]),
            Node("Concat", ["batch", "rest"], ["target"], {"axis": 0}),
            Node("Reshape", ["mean", "target"], ["flat"]),
            Node("MatMul", ["flat", "w"], ["product"]),
            Node("Identity", ["b"], ["bias"]),
            Node("Add", ["product", "bias"], ["logits"]),
        ],
        {
            "zero": np.array([0]),
            "one": np.array([1]),
            "rest": np.array([-1]),
            "w": random(3, 7),
            "b": random(7),
        },
        Value("x", ("n", 3, 4, 4)),
        Value("logits", ("n", 7)),
    )
    ops, folded = simplified(graph, random(2, 3, 4, 4))
    assert ops == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert folded["logits"].parameter == "w"


def test_a_gate_after_a_convolution_becomes_a_clip_with_its_slope_in_the_weights():
    gate = Node("HardSigmoid", ["normed"], ["gate"], {"alpha": 0.25, "beta": 0.4})
    graph = convolution(norm("conv", "normed"), gate, last="gate", **NORM)
    ops, folded = simplified(graph, random(2, 3, 5, 5))
    assert ops == ["Conv", "Clip"]
    (origin,) = folded.values()
    np.testing.assert_allclose(origin.factor, 0.25 * NORM["gamma"] / np.sqrt(NORM["variance"] + 1e-3), rtol=1e-6)


def test_a_gate_that_is_not_all_that_reads_the_convolution_stays():
    gate = Node("HardSigmoid", ["conv"], ["gate"], {"alpha": 0.25})
    graph = convolution(gate, Node("Add", ["conv", "gate"], ["sum"]), last="sum")
    assert simplified(graph, random(2, 3, 5, 5))[0] == ["Conv", "HardSigmoid", "Add"]


def test_a_gate_after_another_operator_stays():
    graph = convolution(Node("Relu", ["conv"], ["relu"]), Node("HardSigmoid", ["relu"], ["gate"]), last="gate")
    assert simplified(graph, random(2, 3, 5, 5))[0] == ["Conv", "Relu", "HardSigmoid"]


def test_what_reads_constants_only_is_computed():
    graph = convolution(
        Node("Mul", ["half", "bias"], ["halved"]),
        Node("Identity", ["halved"], ["shift"]),
        Node("Add", ["conv", "shift"], ["sum"]),
        last="sum",
        half=np.float32(0.5),
        bias=random(4, 1, 1),
    )
    ops, folded = simplified(graph, random(2, 3, 5, 5))
    assert ops == ["Conv"]
    np.testing.assert_array_equal(folded["sum"].factor, np.ones(4))


def test_a_product_along_the_last_of_four_axes_is_no_linear_layer():
    graph = Graph(
        [Node("MatMul", ["x", "w"], ["product"]), Node("Add", ["product", "b"], ["y"])],
        {"w": random(5, 7), "b": random(7)},
        Value("x", ("n", 3, 4, 5)),
        Value("y", ("n", 3, 4, 7)),
    )
    ops, folded = simplified(graph, random(2, 3, 4, 5))
    assert ops == ["MatMul", "Add"]
    assert folded["product"].parameter == "w"


def test_a_transposed_convolution_keeps_its_batch_norm():
    graph = Graph(
        [Node("ConvTranspose", ["x", "w"], ["conv"], {"kernel_shape": [3, 3]}), norm("conv", "y")],
        {"w": random(3, 4, 3, 3), **NORM},
        Value("x", ("n", 3, 5, 5)),
        Value("y", ("n", 4, 7, 7)),
    )
    assert simplified(graph, random(2, 3, 5, 5))[0] == ["ConvTranspose", "BatchNormalization"]

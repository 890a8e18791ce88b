"""Average pooling as an integer convolution: the same numbers, and only where every window lies inside the image."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress.deploy.onnx import graph as graphs
from ppcls_compress.deploy.onnx import pooling, qdq, runtime
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.deploy.onnx.graph import Graph, Node, Value, to_proto
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SIZE = (6, 8)
STEP = 0.0137  # no multiple of the input's, so that no average lies between two integers


def pooled(*, size=SIZE, zero_point=128, between=True, relu=False, **attributes) -> Graph:
    """Average pooling between two pairs of unsigned integers."""
    graph = Graph(
        [Node("AveragePool", ["x"], ["mean"], attributes), Node("Relu" if relu else "Identity", ["mean"], ["y"])],
        {},
        Value("x", ("n", 3, *size)),
        Value("y", ("n", 3, "h", "w")),
    )
    qdq.quantize_tensor(graph, "x", qdq.Grid(0.02, zero_point, "uint8"))
    after = "y" if relu else "mean"
    if between:
        rounded = qdq.quantize_tensor(graph, after, qdq.Grid(STEP, zero_point, "uint8"))
        graph.output = Value(rounded if relu else "y", graph.output.shape)
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(to_proto(graph).SerializeToString(), options).run(None, {"x": x})[0]


WHOLE = [
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER", "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]},
    {"kernel_shape": [3, 2], "strides": [3, 1], "zero_point": 0},
    {"kernel_shape": [3, 3]},
    {"kernel_shape": [2, 2], "strides": [2, 2], "size": (7, 9)},  # the last row and column are left out
    {"kernel_shape": [2, 2], "strides": [2, 2], "relu": True},
]


@pytest.mark.parametrize("case", WHOLE)
def test_a_convolution_gives_the_average(case):
    before, after = pooled(**case), pooled(**case)
    pooling.convolve(after)
    assert "AveragePool" not in ops(after)
    x = np.random.default_rng(0).uniform(-2, 2, (2, 3, *case.get("size", SIZE))).astype(np.float32)
    np.testing.assert_array_equal(run(before, x), run(after, x))


CUT = [
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER", "size": (6, 7)},
    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "size": (7, 8)},
    {"kernel_shape": [2, 2], "strides": [2, 2], "size": ("h", "w")},
    {"kernel_shape": [2, 2], "strides": [2, 2], "between": False},
]


@pytest.mark.parametrize("case", CUT)
def test_pooling_stays_where_a_window_is_cut_or_may_be_or_its_result_is_not_rounded(case):
    graph = pooled(**case)
    before = ops(graph)
    pooling.convolve(graph)
    assert ops(graph) == before


class Pooling(paddle.nn.Layer):
    """A convolution, average pooling, a classifier."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.relu = paddle.nn.ReLU()
        self.pool = paddle.nn.AvgPool2D(2, 2, ceil_mode=True)
        self.after = paddle.nn.Conv2D(8, 8, 1)
        self.mean = paddle.nn.AdaptiveAvgPool2D(1)
        self.flatten = paddle.nn.Flatten()
        self.fc = paddle.nn.Linear(8, 5)

    def forward(self, x):
        x = self.after(self.pool(self.relu(self.conv(x))))
        return self.fc(self.flatten(self.mean(x)))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("placement", ["layers", "deploy"])
def test_exported_pooling_runs_on_integer_kernels(tmp_path, placement, name):
    pytest.importorskip("paddle2onnx")
    pytest.importorskip(name)
    paddle.seed(0)
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32)
    model, _ = quant.prepare(Pooling(), QuantOptions(name="ptq", placement=placement), inputs=[[1, 3, 8, 8]])
    quant.calibrate(model, [paddle.to_tensor(images)])
    settings = {"image_shape": (3, 8, 8), "calibration": [images]}
    path = export(model, tmp_path, layout="ort", **settings).path
    assert "AveragePool" not in ops(graphs.load(path))
    assert runtime.integer_share(path, name)["Convolution"] == (3, 3)
    exact = export(model, tmp_path, layout="openvino", **settings).path
    assert "AveragePool" in ops(graphs.load(exact))

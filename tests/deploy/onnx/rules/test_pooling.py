"""Average pooling as an integer convolution: the same numbers, and only where every window lies inside the image."""

from __future__ import annotations

import logging

import numpy as np
import paddle
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import onnx_ir as ir
import onnxruntime
from support.onnx_extras import needs_onnx
from support.onnx_graphs import node, ops, parse, value

from ppcls_compress.deploy.onnx import graph as graphs
from ppcls_compress.deploy.onnx import qdq, runtime
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.deploy.onnx.rules.pooling import pool_by_convolution
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SIZE = (6, 8)
STEP = 0.0137  # no multiple of the input's, so that no average lies between two integers


def pooled(attributes: str, *, size=SIZE, zero_point=128, before=True, after=True, last="Identity") -> ir.Model:
    """Average pooling between two pairs of unsigned integers."""
    model = parse(f"mean = AveragePool <{attributes}> (x)  y = {last}(mean)", x=("n", 3, *size), y=("n", 3, "h", "w"))
    if before:
        qdq.quantize_tensor(value(model, "x"), qdq.Grid(0.02, zero_point, "uint8"))
    if after:
        rounded = qdq.quantize_tensor(
            value(model, "mean" if last == "Identity" else "y"), qdq.Grid(STEP, zero_point, "uint8")
        )
        if last != "Identity":
            rounded.type, rounded.shape = ir.TensorType(ir.DataType.FLOAT), model.graph.outputs[0].shape
            model.graph.outputs[0] = rounded
    return model


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    written = graphs.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(written, options).run(None, {"x": x})[0]


WHOLE = [
    ('kernel_shape = [2, 2], strides = [2, 2], auto_pad = "SAME_UPPER", ceil_mode = 1', {}),
    ("kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0]", {}),
    ("kernel_shape = [3, 2], strides = [3, 1]", {"zero_point": 0}),
    ("kernel_shape = [3, 3]", {}),
    ("kernel_shape = [2, 2], strides = [2, 2]", {"size": (7, 9)}),  # the last row and column are left out
    ("kernel_shape = [2, 2], strides = [2, 2]", {"last": "Relu"}),
]


@pytest.mark.parametrize(("attributes", "settings"), WHOLE)
def test_a_convolution_gives_the_average(attributes, settings):
    before, after = pooled(attributes, **settings), pooled(attributes, **settings)
    pool_by_convolution(after)
    assert "AveragePool" not in ops(after)
    assert node(after, "Conv").attributes.get_int("group") == 3
    x = np.random.default_rng(0).uniform(-2, 2, (2, 3, *settings.get("size", SIZE))).astype(np.float32)
    np.testing.assert_array_equal(run(before, x), run(after, x))


def test_two_poolings_share_their_zero_point():
    model = parse(
        "a = AveragePool <kernel_shape = [2, 2]> (x)  b = AveragePool <kernel_shape = [2, 2]> (a)  y = Identity(b)",
        x=("n", 3, *SIZE),
        y=("n", 3, "h", "w"),
    )
    for name in ("x", "a", "b"):
        qdq.quantize_tensor(value(model, name), qdq.Grid(0.02, 0, "uint8"))
    pool_by_convolution(model)
    weights = [item.inputs[1].producer() for item in model.graph if item.op_type == "Conv"]
    assert len(weights) == 2
    assert weights[0].inputs[2] is weights[1].inputs[2]
    assert weights[0].inputs[0] is not weights[1].inputs[0]


HALVED = "kernel_shape = [2, 2], strides = [2, 2]"
LEFT = [
    ("kernel_shape = [3, 3], pads = [1, 1, 1, 1]", {}, "a window reaches over the border"),
    ('kernel_shape = [3, 3], auto_pad = "SAME_UPPER"', {}, "a window reaches over the border"),
    (f'{HALVED}, auto_pad = "SAME_UPPER"', {"size": (6, 7)}, "a window reaches over the border"),
    (f"{HALVED}, ceil_mode = 1", {"size": (7, 8)}, "a window reaches over the border"),
    (HALVED, {"size": ("h", "w")}, "its shapes are not known"),
    (HALVED, {"before": False}, "x is not rounded"),
    (HALVED, {"after": False}, "its result is not rounded"),
]


@pytest.mark.parametrize(("attributes", "settings", "reason"), LEFT)
def test_pooling_stays_and_says_why(attributes, settings, reason, caplog):
    model = pooled(attributes, **settings)
    before = ops(model)
    with caplog.at_level(logging.DEBUG, "ppcls_compress"):
        pool_by_convolution(model)
    assert ops(model) == before
    assert f"AveragePoolToConv: mean stays as it is: {reason}" in caplog.messages


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


@needs_onnx
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("placement", ["layers", "deploy"])
def test_exported_pooling_runs_on_integer_kernels(tmp_path, placement, name):
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

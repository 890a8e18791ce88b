"""Ranges per channel in the files: exact in both layouts, and every layer on integer kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from paddle import nn
from support.processor import needs_dot_products

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from ppcls_compress.deploy.extras import TO_ONNX, missing
from ppcls_compress.deploy.onnx import channels, runtime
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.deploy.onnx.graph import constant, load
from ppcls_compress.deploy.onnx.qdq import Grid
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

pytestmark = pytest.mark.skipif(bool(missing(TO_ONNX)), reason="the extra onnx is not installed")
SHAPE = (3, 8, 8)


class Block(nn.Layer):
    """A convolution whose channels differ a hundredfold, an activation, and a depthwise convolution that reads it."""

    def __init__(self, activation: nn.Layer, *, twice: bool = False) -> None:
        super().__init__()
        self.expand = nn.Conv2D(3, 8, 1)
        self.act = activation
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.after = nn.Hardswish()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(8, 5)
        self.twice = twice

    def forward(self, x):
        x = self.act(self.expand(x))
        y = self.after(self.depthwise(x))
        y = y + x if self.twice else y
        return self.fc(self.pool(y).flatten(1))


ACTIVATIONS = {
    "in_float": nn.Hardswish,
    "computed_along": nn.ReLU,
    "saturating": nn.ReLU6,
    "product": nn.Swish,
    "none": nn.Identity,
}


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), np.float32)


def calibrated(block: Block, **options) -> nn.Layer:
    paddle.seed(3)
    widths = np.geomspace(0.02, 3.0, 8).astype(np.float32)
    widths = widths.reshape(-1, 1, 1, 1)
    weight = np.random.default_rng(0).standard_normal((8, 3, 1, 1), np.float32)
    block.expand.weight.set_value(weight * widths)
    block.depthwise.weight.set_value(block.depthwise.weight.numpy() / widths)
    model, _ = quant.prepare(block, QuantOptions(name="ptq", **options), inputs=[[2, *SHAPE]])
    quant.calibrate(model, [paddle.to_tensor(images(64, 1))])
    model.eval()
    return model


def answers(model: nn.Layer, folder, layout: str, engine: str) -> tuple[np.ndarray, np.ndarray, dict]:
    path = export(model, folder, image_shape=SHAPE, layout=layout, output="logits", calibration=[images(64, 1)]).path
    x = images(64, 2)
    found = runtime.load(path, engine, threads=1).run(x)
    return model(paddle.to_tensor(x)).numpy(), found, runtime.integer_share(path, engine)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@needs_dot_products
def test_openvino_has_a_scale_for_each_channel(kind, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model = calibrated(Block(ACTIVATIONS[kind]()))
    expected, found, share = answers(model, tmp_path, "openvino", "openvino")
    assert share["Convolution"] == (2, 2)
    assert np.abs(found - expected).mean() < 2e-3 * np.abs(expected).max()
    pairs = [node for node in load(tmp_path / "model.onnx").graph if node.op_type == "QuantizeLinear"]
    assert sorted(constant(node.inputs[1]).size for node in pairs) == [1, 1, 8]


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_onnxruntime_computes_with_them_on_integer_kernels(kind, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model = calibrated(Block(ACTIVATIONS[kind]()))
    expected, found, share = answers(model, tmp_path / "channel", "ort", "onnxruntime")
    assert share["Convolution"] == (2, 2)
    # A product's factors are rounded for all channels alike, whatever the product is.
    allowed = 0.06 if kind == "product" else 0.01
    assert np.abs(found - expected).mean() < allowed * np.abs(expected).max()
    graph = load(tmp_path / "channel" / "model.onnx").graph
    ops = [node.op_type for node in graph]
    # Two around a hard-swish before the depthwise convolution, and beside a swish's own one that divides. Another
    # convolution takes the factors over without any, and what the depthwise one gives has channels much alike.
    assert ops.count("Mul") == {"in_float": 2, "product": 2}.get(kind, 0)
    # Both are several times as slow otherwise.
    assert all(constant(node.inputs[1]).size == 1 for node in graph if node.op_type == "QuantizeLinear")
    rows = [constant(node.inputs[1]).tolist() for node in graph if node.op_type == "Expand"]
    if rows or paddle.__version__ >= "3.1":  # what PaddlePaddle 3.0 and converters of its time write tells no width
        assert rows == [[1, 8, 1, 8]] * {"in_float": 2, "product": 1}.get(kind, 0)
    assert "Clip" not in ops


@pytest.mark.parametrize(("spread", "earns"), [(1.0, False), (2.0, False), (64.0, True)])
def test_what_an_activation_reads_has_factors_only_where_they_spare_much_noise(spread, earns):
    steps = np.geomspace(1 / spread, 1.0, 8)
    before = Grid(0.05, 100, "uint8", tuple(steps.tolist()))
    assert channels.factors_pay(before, replace(before, scale=0.03)) is earns
    # Where the result is rounded much more coarsely, for all channels alike, there is nothing to spare.
    assert not channels.factors_pay(before, Grid(0.2, 0, "uint8"))


def test_onnxruntime_is_nearer_to_float_than_with_one_range(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    errors = {}
    for ranges in ("channel", "tensor"):
        model = calibrated(Block(nn.Hardswish()), depthwise_ranges=ranges)
        _, found, _ = answers(model, tmp_path / ranges, "ort", "onnxruntime")
        errors[ranges] = np.abs(found - quant.convert(model)(paddle.to_tensor(images(64, 2))).numpy()).mean()
    assert errors["channel"] < 0.5 * errors["tensor"]


def test_a_tensor_with_another_reader_keeps_one_range_in_onnxruntime(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model = calibrated(Block(nn.Hardswish(), twice=True))
    _, _, share = answers(model, tmp_path, "ort", "onnxruntime")
    assert share["Convolution"] == (2, 2)
    graph = load(tmp_path / "model.onnx").graph
    read = next(node for node in graph if node.op_type == "HardSwish").outputs[0]
    assert all(constant(use.node.inputs[1]).size == 1 for use in read.uses())


@pytest.mark.parametrize("layout", ["openvino", "ort"])
def test_fewer_bits_stay_on_their_grid(layout, tmp_path):
    engine = pytest.importorskip({"openvino": "openvino", "ort": "onnxruntime"}[layout]).__name__
    model = calibrated(Block(nn.Hardswish()), activation_bits=5)
    expected, found, _ = answers(model, tmp_path, layout, engine)
    assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).max()


class Joined(Block):
    """A depthwise convolution reads what a concatenation gives."""

    def forward(self, x):
        parts = [self.act(part) for part in paddle.split(self.expand(x), 2, axis=1)]
        return self.fc(self.pool(self.after(self.depthwise(paddle.concat(parts, axis=1)))).flatten(1))


@needs_dot_products
def test_openvino_reads_ranges_per_channel_of_a_concatenation(tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model = calibrated(Joined(nn.Hardswish()))
    file = export(model, tmp_path, image_shape=SHAPE, layout="openvino", output="logits").path
    values = images(8, 5)
    with paddle.no_grad():
        expected = model(paddle.to_tensor(values)).numpy()
    found = runtime.load(file, "openvino", threads=1).run(values)
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())
    for whole, count in runtime.integer_share(file, "openvino").values():
        assert whole == count

"""Explicit quantization for TensorRT: the rules, what breaks them, and that the file computes what was trained."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

IMAGES = np.random.default_rng(5).standard_normal((16, 3, 8, 8), np.float32)
FOR_TENSORRT = {"asymmetric": False, "unsigned": False, "depthwise_ranges": "tensor"}


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(3)
        self.first, self.act = nn.Conv2D(3, 8, 3, padding=1), nn.ReLU()
        self.middle, self.depthwise = nn.Conv2D(8, 8, 3, padding=1), nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.pool, self.last = nn.AdaptiveAvgPool2D(1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.act(self.first(x))
        x = self.depthwise(self.act(x + self.middle(x)))
        return self.last(self.pool(x).flatten(1))


def trained(**options):
    model, _ = quant.prepare(Network(), QuantOptions(**options), inputs=[[2, 3, 8, 8]])
    quant.calibrate(model, [paddle.to_tensor(IMAGES)])
    model.eval()
    return model


def written(model, folder, images=IMAGES):
    from ppcls_compress.deploy.onnx.export import export

    given = None if images is None else [images]
    return export(model, folder, image_shape=(3, 8, 8), layout="qdq", output="logits", calibration=given)


def answers(path) -> np.ndarray:
    from ppcls_compress.deploy.onnx import runtime

    return runtime.load(path, "onnxruntime", threads=1).run(IMAGES)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A file that keeps the rules."""
    return written(trained(name="pact", **FOR_TENSORRT), tmp_path_factory.mktemp("kept")).path


CASES = {
    "pact": ({"name": "pact", **FOR_TENSORRT}, 0.03, 0),
    "ptq on any grids": ({"name": "ptq"}, 0.08, 1),
    "trained for deployment": ({"name": "pact", "placement": "deploy", **FOR_TENSORRT}, 0.03, 0),
}


@pytest.mark.parametrize(("options", "bound", "coarser"), CASES.values(), ids=CASES)
def test_the_file_keeps_the_rules_and_computes_what_was_trained(options, bound, coarser, tmp_path):
    model = trained(**options)
    found = written(model, tmp_path, None if options.get("placement") == "deploy" else IMAGES)
    assert len(found.quantized) == 4
    assert found.notes[-1] == "TensorRT: rules checked, not run"
    assert sum("more coarsely than in training" in note for note in found.notes) == coarser
    file = onnx.load(found.path)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in file.graph.initializer}
    pairs = [node for node in file.graph.node if node.op_type == "QuantizeLinear"]
    assert all(constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any() for node in pairs)
    assert all(constants[node.input[1]].size == 1 for node in pairs)
    made = {name: node for node in file.graph.node for name in node.output}
    (addition,) = (node for node in file.graph.node if node.op_type == "Add")
    assert [made[name].op_type for name in addition.input] == ["DequantizeLinear"] * 2
    expected = model(paddle.to_tensor(IMAGES)).numpy()
    assert np.abs(answers(found.path) - expected).mean() < bound * np.abs(expected).max()


def _zero_point(graph, value):
    value.const_value = _tensor(np.uint8(3))


def _two_scales(graph, value):
    value.const_value = _tensor(np.ones(8, np.float32))


def _no_scale(graph, value):
    value.const_value = _tensor(np.float32(0))


def _tensor(array):
    import onnx_ir as ir

    return ir.tensor(np.asarray(array))


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        (2, _zero_point, "has zero point 3 of uint8; 0 of int8 is needed"),
        (1, _two_scales, "an activation has 8 scales; one is needed"),
        (1, _no_scale, "its scale is not above 0"),
    ],
)
def test_a_broken_pair_is_told(place, change, told, kept):
    from ppcls_compress.deploy.onnx import graph, place_qdq

    model = graph.load(kept)
    assert place_qdq.check(model) == []
    pair = next(node for node in model.graph if node.op_type == "QuantizeLinear")
    change(model.graph, pair.inputs[place])
    assert any(told in line for line in place_qdq.check(model))


def test_quantized_biases_open_sums_and_wrong_axes_are_told(kept):
    import onnx_ir as ir

    from ppcls_compress.deploy.onnx import graph, place_qdq
    from ppcls_compress.deploy.onnx.qdq import quantize_bias

    model = graph.load(kept)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    quantize_bias(conv, np.full(8, 1e-4))
    conv.inputs[1].producer().attributes["axis"] = ir.AttrInt64("axis", 1)
    addition = next(node for node in model.graph if node.op_type == "Add")
    addition.replace_input_with(0, addition.inputs[0].producer().inputs[0].producer().inputs[0])
    told = "\n".join(place_qdq.check(model))
    assert "its bias is quantized" in told
    assert "its weight has scales along axis 1; its output channels lie along 0" in told
    assert "which is added to a quantized layer's result, is not quantized" in told


class Joined(nn.Layer):
    """A convolution that reads a rounded tensor beside itself pooled."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.pool = nn.Conv2D(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2D(3, 1, 1)
        self.mix, self.last = nn.Conv2D(12, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        x = self.act(self.first(x))
        return self.last(self.mix(paddle.concat([x, self.pool(x)], axis=1)).mean(axis=[2, 3]))


@pytest.mark.parametrize("placement", ["layers", "deploy"])
def test_what_is_joined_of_rounded_tensors_is_rounded_in_front_of_the_layer(placement, tmp_path):
    model, _ = quant.prepare(
        Joined(), QuantOptions(name="pact", placement=placement, **FOR_TENSORRT), inputs=[[2, 3, 8, 8]]
    )
    quant.calibrate(model, [paddle.to_tensor(IMAGES)])
    model.eval()
    found = written(model, tmp_path)
    file = onnx.load(found.path)
    made = {name: node for node in file.graph.node for name in node.output}
    convolutions = [node for node in file.graph.node if node.op_type == "Conv"]
    assert [made[node.input[0]].op_type for node in convolutions] == ["DequantizeLinear"] * 2
    expected = model(paddle.to_tensor(IMAGES)).numpy()
    assert np.abs(answers(found.path) - expected).mean() < 0.03 * np.abs(expected).max()

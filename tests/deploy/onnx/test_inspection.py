"""Planted faults in an exported file: the layer and the kind are named."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export

from ppcls_compress.deploy import verify
from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options import QuantOptions

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

IMAGES = np.random.default_rng(5).standard_normal((16, 3, 8, 8), np.float32)


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(3)
        self.first, self.norm, self.act = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Hardswish()
        self.depthwise = nn.Conv2D(8, 8, 3, groups=8)
        self.pool, self.last = nn.AdaptiveAvgPool2D(1), nn.Linear(8, 5)
        self.norm._variance.set_value(np.linspace(0.3, 1.5, 8, dtype=np.float32))

    def forward(self, x):
        x = self.depthwise(self.act(self.norm(self.first(x))))
        return self.last(self.pool(x).flatten(1))


def written(model, folder, layout="openvino"):
    from ppcls_compress.deploy.onnx.export import export

    shape = IMAGES.shape[1:]
    return export(model, folder, image_shape=shape, layout=layout, output="logits", calibration=[IMAGES]).path


@pytest.fixture(scope="module")
def model():
    net, _ = quant.prepare(Network(), QuantOptions(name="qat", asymmetric=True), inputs=[[2, 3, 8, 8]])
    quant.calibrate(net, [paddle.to_tensor(IMAGES)])
    return net


@pytest.fixture(scope="module")
def sound(model, tmp_path_factory):
    return written(model, tmp_path_factory.mktemp("sound"))


def inspected(path, model, given=None):
    from ppcls_compress.deploy.onnx.inspection import inspect

    return inspect(path, model, IMAGES, given)


def faults(found) -> dict[str, str]:
    return {layer: cause.kind for layer, cause in found.faults.items()}


def changed(path, folder, change):
    """The file with some constant changed; it takes the stem that the change is for."""
    file = onnx.load(path)
    node = next(
        node for node in file.graph.node if node.op_type == "Conv" and len(node.attribute) and _groups(node) == 8
    )
    pair = next(other for other in file.graph.node if node.input[0] in other.output)
    change({item.name: item for item in file.graph.initializer}, pair)
    onnx.save(file, folder / "model.onnx")
    return folder / "model.onnx"


def _groups(node) -> int:
    return next((item.i for item in node.attribute if item.name == "group"), 1)


@pytest.mark.parametrize("layout", ["ort", "openvino"])
def test_a_sound_file_gives_what_was_trained(model, layout, tmp_path):
    found = inspected(written(model, tmp_path, layout), model)
    assert (found.astray, found.faults) == (None, {})
    assert [tensor.layer for tensor in found.tensors] == ["first", "depthwise", "last"]
    assert all(tensor.file > 30 for tensor in found.tensors)
    assert all(25 < tensor.rounded < 70 for tensor in found.tensors)


def test_a_wrong_scale(sound, model, tmp_path):
    def narrower(constants, pair):
        scale = constants[pair.input[1]]
        scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * np.float32(0.3), scale.name))

    found = inspected(changed(sound, tmp_path, narrower), model)
    assert (found.astray, faults(found)) == ("depthwise", {"depthwise": "wrong scale"})


def test_a_wrong_zero_point(sound, model, tmp_path):
    def shifted(constants, pair):
        zero = constants[pair.input[2]]
        zero.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(zero) + np.uint8(90), zero.name))

    found = inspected(changed(sound, tmp_path, shifted), model)
    assert (found.astray, faults(found)) == ("depthwise", {"depthwise": "wrong zero point"})


def test_a_wrong_epsilon(model, tmp_path):
    other = copied(model)
    other.norm._epsilon = 0.5
    found = inspected(written(other, tmp_path), model)
    assert found.astray == "depthwise"
    assert faults(found) == {"first": "wrong epsilon"}
    assert "epsilon of 0.5, the network has 1e-05" in found.faults["first"].found


def test_a_wrong_preprocessing_and_a_swapped_channel_order(sound, model):
    for given, kind in ((IMAGES * 2 + 1, "wrong preprocessing"), (IMAGES[:, ::-1].copy(), "swapped channel order")):
        found = inspected(sound, model, given)
        assert (found.astray, faults(found)) == ("first", {"first": kind})
    assert "[2, 1, 0]" in found.faults["first"].found


def test_a_file_of_other_weights_is_refused(sound):
    paddle.seed(11)
    net, _ = quant.prepare(nn.Sequential(nn.Conv2D(3, 4, 3), nn.Flatten()), QuantOptions(name="qat"))
    quant.calibrate(net, [paddle.to_tensor(IMAGES)])
    with pytest.raises(UserError, match="exported from other weights"):
        inspected(sound, net)


def test_the_layer_that_explains_a_difference_is_named(sound, model, tmp_path):
    from ppcls_compress.deploy.onnx.explaining import explain

    assert explain(sound, model, IMAGES) is None

    def narrower(constants, pair):
        scale = constants[pair.input[1]]
        scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * np.float32(0.3), scale.name))

    assert "depthwise explains it: wrong scale" in explain(changed(sound, tmp_path, narrower), model, IMAGES)


def test_a_comparison_that_fails_names_the_layer_whose_ranges_explain_it(model, tmp_path, monkeypatch):
    answers = np.zeros((len(IMAGES), 5), np.float32)
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images, runtime=None: (answers, {}))
    _, record = quant.prepare(Network(), QuantOptions(name="qat", asymmetric=True), inputs=[[2, 3, 8, 8]])
    steps = {"version": 1, "steps": [record]}
    narrow = {"calibration": [0.02 * IMAGES], "images": IMAGES, "record": steps, "format": "onnx-ort"}
    with pytest.raises(verify.ParityError) as error:
        export(model, tmp_path / "narrow", image_shape=IMAGES.shape[1:], output="logits", **narrow)
    assert "what depthwise reads explains it: before it the file rounds what training left in float" in str(error.value)
    assert "to a range that ends at" in str(error.value)
    monkeypatch.setattr("ppcls_compress.deploy.onnx.explaining.explain", lambda *args: 1 / 0)
    with pytest.raises(verify.ParityError, match=r"takes it as it is$|explain it$"):
        export(model, tmp_path / "narrow", image_shape=IMAGES.shape[1:], output="logits", **narrow)

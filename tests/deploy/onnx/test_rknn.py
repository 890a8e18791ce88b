"""RKNN's rules: what a file keeps, and what breaks them."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import NoFormError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

IMAGES = np.random.default_rng(5).standard_normal((6, 3, 8, 8), np.float32)


class Network(nn.Layer):
    def __init__(self, between=None):
        super().__init__()
        self.first, self.act, self.last = nn.Conv2D(3, 4, 3), nn.Hardswish(), nn.Linear(4, 5)
        self.between = between

    def forward(self, x):
        x = self.act(self.first(x))
        return self.last((x if self.between is None else self.between(x)).mean(axis=[2, 3]))


def trained(between=None):
    paddle.seed(3)
    options = QuantOptions(name="pact", asymmetric=False, unsigned=False, depthwise_ranges="tensor")
    model, _ = quant.prepare(Network(between), options, inputs=[[2, 3, 8, 8]])
    quant.calibrate(model, [paddle.to_tensor(IMAGES)])
    model.eval()
    return model


def written(model, folder):
    from ppcls_compress.deploy.onnx.export import export

    return export(model, folder, image_shape=(3, 8, 8), layout="rknn", output="probabilities", calibration=[IMAGES])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A network and its file."""
    model = trained()
    return model, written(model, tmp_path_factory.mktemp("kept"))


def test_the_file_keeps_the_rules_and_computes_what_was_trained(kept):
    from ppcls_compress.deploy.onnx.formats import FORMATS

    model, found = kept
    assert len(found.quantized) == 2
    assert found.notes[-1] == "RKNN: rules checked, not run"
    file = onnx.load(found.path)
    (image,), (scores,) = file.graph.input, file.graph.output
    assert [size.dim_value for size in image.type.tensor_type.shape.dim] == [1, 3, 8, 8]
    assert scores.type.tensor_type.shape.dim[0].dim_value == 1
    (kind,) = (kind for kind in FORMATS if kind.name == "onnx-rknn")
    expected = nn.functional.softmax(model(paddle.to_tensor(IMAGES))).numpy()
    np.testing.assert_allclose(kind.runtime().open(found.path.parent, 1).run(IMAGES), expected, rtol=0, atol=0.01)


def test_an_operator_that_it_has_not_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(NoFormError, match=r"onnx-rknn: breaks rules of RKNN: \S+: operator Sign is none that RKNN"):
        written(trained(paddle.sign), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_breaks_a_rule_is_told(kept):
    import onnx_ir as ir

    from ppcls_compress.deploy.onnx import graph, rknn

    model = graph.load(kept[1].path)
    assert rknn.check(model) == []
    model.opset_imports[""] = 21
    image = model.graph.inputs[0]
    image.shape = ir.Shape(["N", *list(image.shape)[1:]])
    pair = next(node for node in model.graph if node.op_type == "QuantizeLinear")
    pair.inputs[2].const_value = ir.tensor(np.uint8(3))
    told = "\n".join(rknn.check(model))
    assert "operator set [21]: 12 to 19 are read" in told
    assert "image: has the shape ['?', 3, 8, 8]; a batch of 1 and fixed sizes are needed" in told
    assert "has zero point 3 of uint8; 0 of int8 is needed" in told

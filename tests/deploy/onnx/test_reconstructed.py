"""Weights whose rounding was learned are in the files integer for integer."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

IMAGES = np.random.default_rng(5).standard_normal((16, 4, 8, 8), np.float32)


@pytest.fixture(scope="module")
def model():
    paddle.seed(3)
    pool = nn.AdaptiveAvgPool2D(1)
    net = nn.Sequential(
        nn.Conv2D(4, 6, 3), nn.ReLU(), nn.Conv2D(6, 6, 3, groups=6), pool, nn.Flatten(), nn.Linear(6, 5)
    )
    options = QuantOptions(name="ptq", weight_bits=4, reconstruction={"iterations": 50})
    quant.prepare(net, options, inputs=[[2, 4, 8, 8]])
    quant.calibrate(net, [paddle.to_tensor(IMAGES)], reconstruction=options.reconstruction)
    return net


@pytest.mark.parametrize("layout", ["ort", "openvino"])
def test_the_integers_are_those_that_were_learned(model, layout, tmp_path):
    from ppcls_compress.deploy.onnx.export import export

    path = export(model, tmp_path, image_shape=(4, 8, 8), layout=layout, output="logits", calibration=[IMAGES]).path
    stored = [onnx.numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer]
    stored = [np.sort(array.ravel()) for array in stored if array.dtype == np.int8 and array.ndim > 1]
    for grid in quant.grids(model).values():
        wanted = np.sort(grid.weight.integers.ravel())
        assert any(np.array_equal(wanted, array) for array in stored)

"""Transposed convolutions with groups: a range for each channel of a group, a bias for each of all channels."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export
from support.onnx_extras import need

from ppcls_compress.deploy import formats, sessions
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (4, 6, 6)
X = np.random.default_rng(0).standard_normal((32, *SHAPE)).astype("float32")


class Up(nn.Layer):
    """Two in a row, so that the first gives a tensor that is rounded."""

    def __init__(self, groups):
        super().__init__()
        self.first = nn.Conv2DTranspose(4, 8, 2, stride=2, groups=groups)
        self.relu = nn.ReLU()
        self.second = nn.Conv2DTranspose(8, 4, 3, groups=groups)

    def forward(self, x):
        return self.second(self.relu(self.first(x))).flatten(1)


def prepared(groups, **options):
    paddle.seed(groups)
    net = Up(groups)
    for layer in (net.first, net.second):
        layer.bias.set_value(np.random.default_rng(1).standard_normal(layer.bias.shape).astype("float32"))
    net.eval()
    chosen = QuantOptions(placement="deploy", quantizable_layer_type=["Conv2DTranspose"], **options)
    model, step = quant.prepare(net, chosen, inputs=[[1, *SHAPE]])
    quant.calibrate(model, [paddle.to_tensor(X)])
    model.eval()
    return model, step


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("name", ["ptq", "pact", "lsq"])
def test_the_bias_is_a_whole_number_of_steps_of_the_accumulator(groups, name):
    model, _ = prepared(groups, name=name)
    for layer in (model.first, model.second):
        grid = quant.grids(model)["first" if layer is model.first else "second"]
        # Output channel c of a group is channel c modulo the group's size of the weight's second axis.
        scales = grid.weight.scale[np.arange(layer._out_channels) % grid.weight.scale.size]
        steps = layer.effective_bias().numpy() / (scales.astype(np.float64) * grid.input.scale)
        np.testing.assert_allclose(steps, np.rint(steps), atol=0.01)
        assert np.abs(layer.effective_bias().numpy() - layer.bias.numpy()).max() < 0.02
    model.train()
    model(paddle.to_tensor(X)).sum().backward()
    assert np.isfinite(model.first.bias.grad.numpy()).all()


@pytest.mark.parametrize("name", ["paddle", "onnx-ort", "onnx-openvino"])
def test_every_format_computes_what_training_saw(tmp_path, name):
    need(formats.get(name))
    model, step = prepared(2, name="ptq")
    record = {"version": 1, "steps": [step]}
    result = export(model, tmp_path, image_shape=SHAPE, output="logits", record=record, format=name)
    found = sessions.open_session(result.artifact, 1).run(X)
    expected = model(paddle.to_tensor(X)).numpy()
    assert (np.abs(found - expected) < 1e-5).mean() > 0.99

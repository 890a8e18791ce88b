"""A program of Paddle's that is not what was trained is told with the layer whose ranges explain it."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export

from ppcls_compress.deploy import verify
from ppcls_compress.deploy.paddle.explaining import HELD, explain, once_more
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

IMAGES = np.random.default_rng(5).standard_normal((16, 3, 8, 8), np.float32)
OPTIONS = QuantOptions(name="qat", asymmetric=True, depthwise_ranges="channel")


class Network(nn.Layer):
    """Channels before the depthwise convolution are a thousandfold apart."""

    def __init__(self) -> None:
        super().__init__()
        paddle.seed(3)
        self.first, self.norm, self.act = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.ReLU()
        self.depthwise = nn.Conv2D(8, 8, 3, groups=8)
        self.pool, self.last = nn.AdaptiveAvgPool2D(1), nn.Linear(8, 5)
        self.norm.weight.set_value(np.logspace(-3, 0, 8, dtype=np.float32))

    def forward(self, x):
        x = self.depthwise(self.act(self.norm(self.first(x))))
        return self.last(self.pool(x).flatten(1))


def quantized(options):
    net, record = quant.prepare(Network(), options, inputs=[[2, 3, 8, 8]])
    quant.calibrate(net, [paddle.to_tensor(IMAGES)])
    net.eval()
    return net, record


@pytest.fixture(scope="module")
def model():
    return quantized(OPTIONS)


def test_a_range_that_the_format_does_not_have_is_named(model):
    told = explain(model[0], IMAGES, HELD["onednn"])
    assert told.startswith("most is lost before depthwise: ")
    assert told.endswith("; in the file it has one range for all channels, where training had one for each")


def test_integers_that_the_format_does_not_use_are_named():
    net, _ = quantized(QuantOptions(name="qat", activation_bits=4))
    told = explain(net, IMAGES, HELD["paddle-lite"])
    assert told.startswith("most is lost before depthwise: ")
    assert told.endswith("; in the file it has half of its integers below zero, where training had none")


def test_a_program_with_the_ranges_of_training_leaves_the_runtime(model):
    before = {name: value.numpy() for name, value in model[0].state_dict().items()}
    assert explain(model[0], IMAGES, HELD["paddle"]).startswith("no layer's range explains it: ")
    after = model[0].state_dict()
    assert all(np.array_equal(after[name].numpy(), value) for name, value in before.items())


def test_a_comparison_that_fails_tells_it(model, tmp_path, monkeypatch):
    net, record = model
    answers = np.zeros((len(IMAGES), 5), np.float32)
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images, runtime=None: (answers, {}))
    steps = {"version": 1, "steps": [record]}
    for name, expected in (("paddle", "no layer's range explains it"), ("onednn", "most is lost before depthwise")):
        given = {"images": IMAGES, "record": steps, "format": name, "output": "logits"}
        with pytest.raises(verify.ParityError, match=expected):
            export(net, tmp_path / name, image_shape=IMAGES.shape[1:], **given)


def test_weights_are_rounded_again_to_the_grid_of_their_largest_integer():
    integers = np.array([[100, -37, 5], [127, 1, -64], [0, 0, 0]], np.int8)
    grid = quant.WeightGrid(integers, np.array([2.0, 3.0, 1.0], np.float32), 0, 8)
    again = once_more(grid)
    weight = integers * grid.scale[:, None]
    step = np.abs(weight).max(axis=1, keepdims=True) / 127
    nearest = np.divide(weight, step, out=np.zeros_like(weight), where=step > 0).round() * step
    np.testing.assert_allclose(again.integers * again.scale[:, None], nearest, rtol=1e-6)
    np.testing.assert_array_equal(again.integers[1], integers[1])

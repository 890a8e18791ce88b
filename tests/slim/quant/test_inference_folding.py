import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant import inference

SHAPE = [4, 3, 16, 16]


def logits(model, images):
    model.eval()
    with paddle.no_grad():
        return model(images).numpy()


@pytest.mark.parametrize("kind", ["channel_wise_abs_max", "abs_max"])
def test_batch_norms_fold_into_integers_and_ranges(kind):
    paddle.seed(0)
    model, rng = models.build("CIFARResNet8", class_num=7), np.random.default_rng(0)
    images = paddle.to_tensor(rng.standard_normal(SHAPE, np.float32))
    norms = [layer for layer in model.sublayers() if hasattr(layer, "_mean")]
    for norm in norms:
        norm.weight.set_value(rng.uniform(-1.5, 1.5, norm.weight.shape).astype(np.float32))
        norm.bias.set_value(rng.uniform(-1, 1, norm.bias.shape).astype(np.float32))
    prune.recalibrate(model, [images])
    model, _ = quant.prepare(model, QuantOptions(name="pact", weight_quantize_type=kind))
    quant.calibrate(model, [images])
    deployed = quant.to_inference(model)
    for layer in deployed.sublayers():
        if hasattr(layer, "rounding"):
            layer.rounding = paddle.nn.Identity()  # or a value next to a boundary may fall on its other side
    before = logits(deployed, images)
    inference.fold_batch_norms(deployed, [SHAPE])
    assert not [layer for layer in deployed.sublayers() if hasattr(layer, "_mean")]
    np.testing.assert_allclose(logits(deployed, images), before, atol=1e-5 * np.abs(before).max())
    assert len([layer for layer in model.sublayers() if hasattr(layer, "_mean")]) == len(norms)


def deployed(model, images):
    model.eval()
    model, _ = quant.prepare(model, QuantOptions(name="qat"))
    quant.calibrate(model, [images])
    return quant.to_inference(model)


def test_the_activation_of_a_norm_stays_when_it_is_folded():
    paddle.seed(0)
    images = paddle.randn(SHAPE)
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm(4, act="relu"))
    model = deployed(model, images)
    before = logits(model, images)
    assert inference.fold_batch_norms(model, [SHAPE])
    assert isinstance(model[1], paddle.nn.ReLU)
    np.testing.assert_allclose(logits(model, images), before, atol=1e-5 * np.abs(before).max())


class UsedTwice(paddle.nn.Layer):
    """Adds what a convolution gives to its batch norm."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.norm = paddle.nn.BatchNorm2D(4)
        self.norm._variance.set_value(paddle.full([4], 0.3))

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


def test_nothing_is_folded_where_the_output_would_change():
    paddle.seed(0)
    images = paddle.randn(SHAPE)
    model = deployed(UsedTwice(), images)
    before = logits(model, images)
    assert not inference.fold_batch_norms(model, [SHAPE])
    np.testing.assert_array_equal(logits(model, images), before)

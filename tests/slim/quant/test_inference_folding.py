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

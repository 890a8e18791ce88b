from __future__ import annotations

import contextlib

import numpy as np
import paddle
import pytest
from paddle.nn import functional

from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant import prepare, quant_layers


def answers(function, x, parameters):
    """What a function gives, and the gradients, in bits."""
    y = function(x)
    (y * y).sum().backward()
    found = [y.astype("float32").numpy(), *(value.grad.numpy() for value in (x, *parameters))]
    for value in (x, *parameters):
        value.clear_gradient()
    return found


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("groups", [1, 8], ids=["dense", "depthwise"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_bias_is_added_as_paddles_convolution_does(layout, groups, amp):
    conv = paddle.nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=groups, data_format=layout)
    model = paddle.nn.Sequential(conv)
    shape = [2, 8, 7, 7] if layout == "NCHW" else [2, 7, 7, 8]
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal(shape, np.float32), stop_gradient=False)
    conv.bias.set_value(np.arange(8, dtype=np.float32))
    prepare(model, QuantOptions(name="qat"))
    (layer,) = quant_layers(model).values()
    layer.quantizing = False

    def expected(x):
        return functional.conv2d(x, layer.weight, layer.bias, 2, 1, groups=groups, data_format=layout)

    with paddle.amp.auto_cast(dtype="bfloat16") if amp else contextlib.nullcontext():
        ours, theirs = (answers(run, x, (layer.weight, layer.bias)) for run in (layer, expected))
    for found, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(found, wanted)

import logging

import paddle
import pytest

from ppcls_compress.config.sections import Amp
from ppcls_compress.engine.precision import Precision, build_precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_device_without_mixed_precision_is_told_and_trains_in_float32(caplog, dtype):
    with caplog.at_level(logging.WARNING, logger="ppcls_compress"):
        precision = build_precision(Amp(dtype=dtype))
    assert f"no mixed precision in {dtype} on cpu" in caplog.text
    with precision.autocast():
        assert paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype == paddle.float32


@pytest.mark.parametrize("options", [None, Amp(use_amp=False)])
def test_without_amp_nothing_is_told(caplog, options):
    with caplog.at_level(logging.WARNING, logger="ppcls_compress"):
        build_precision(options)
    assert not caplog.text


def test_full_precision_leaves_the_loss_alone():
    loss = paddle.to_tensor(2.0)
    precision = Precision()
    assert precision.scaled(loss) is loss
    assert precision.state_dict() == {}

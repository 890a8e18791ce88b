"""Ranges per channel of what depthwise convolutions read."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.quantizers.channelwise import Channelwise, shared_grid
from ppcls_compress.slim.quant.quantizers.two_ended import ASYMMETRIC, ONE_SIDED, SYMMETRIC

WIDTHS = np.array([0.05, 1.0, 30.0], np.float32).reshape(1, 3, 1, 1)
KINDS = [{"name": "ptq"}, *({"name": name, "depthwise_ranges": "channel"} for name in ("qat", "pact", "lsq"))]


def images(seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(WIDTHS * np.random.default_rng(seed).standard_normal((4, 3, 8, 8), np.float32))


def network() -> nn.Layer:
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, 3, 3, padding=1, groups=3), nn.Conv2D(3, 4, 1))


def prepared(**options):
    model, record = quant.prepare(network(), QuantOptions(**options), inputs=[[2, 3, 8, 8]])
    quant.calibrate(model, [images()])
    return model, record


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["name"])
def test_each_channel_is_rounded_on_its_own_scale_and_one_zero_point(kind):
    model, _ = prepared(**kind)
    model.eval()
    quantizer, x = model[0]._fake_quant_input, images()
    assert isinstance(quantizer, Channelwise)
    assert not isinstance(model[1]._fake_quant_input, Channelwise)
    grid = quant.grids(model)["0"].input
    scales = grid.scales.reshape(1, 3, 1, 1)
    zero_point = 128 if grid.zero_point is None else grid.zero_point
    expected = (np.clip(np.rint(x.numpy() / scales) + zero_point, 0, 255) - zero_point) * scales
    found = quantizer(x).numpy()
    assert (np.abs(found - expected) < 1e-5 * WIDTHS).mean() > 0.99  # a tie may fall to the other side
    assert (np.abs(found - x.numpy()).max(axis=(0, 2, 3)) < 0.03 * WIDTHS.reshape(-1)).all()
    np.testing.assert_allclose(quant.to_inference(model)(x).numpy(), model(x).numpy(), atol=1e-4)


def test_one_range_for_all_channels_loses_the_narrow_ones():
    model, _ = prepared(name="ptq", depthwise_ranges="tensor")
    found = model[0]._fake_quant_input(images()).numpy()
    assert (found[:, 0] == 0).mean() > 0.5


def test_a_signed_grid_may_have_a_range_per_channel_too():
    model, _ = prepared(name="ptq", asymmetric=False)
    grid = quant.grids(model)["0"].input
    assert (grid.zero_point, grid.unsigned, len(grid.factors)) == (None, False, 3)
    assert quant.grids(model)["1"].input.factors is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["name"])
def test_the_record_and_the_state_rebuild_it(kind):
    model, record = prepared(**kind)
    fresh = quant.apply_record(network(), record)
    assert fresh.set_state_dict({key: value.numpy() for key, value in model.state_dict().items()}) == ([], [])
    for net in (model, fresh):
        net.eval()
    np.testing.assert_array_equal(fresh(images(1)).numpy(), model(images(1)).numpy())


@pytest.mark.parametrize("name", ["qat", "pact", "lsq"])
def test_it_trains(name):
    model, _ = prepared(name=name, depthwise_ranges="channel", asymmetric="auto")
    model.train()
    for parameter in model.parameters():
        parameter.clear_gradient()
    model(images(2)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert quant.statistics(model)[0]["limit"] == pytest.approx(30 * 3.5, rel=0.5)


def test_the_shared_zero_point_serves_the_narrow_channels():
    low, high = np.array([-0.375, -0.375, -0.1]), np.array([10.0, 0.5, 0.1])
    zero_point, steps = shared_grid(low, high, 8, ASYMMETRIC)
    assert (steps * (255 - zero_point) >= high - 1e-9).all()
    assert (-steps * zero_point <= low + 1e-9).all()
    total = np.square(steps / (high - low)).sum()
    for other in range(1, 255):
        tried = np.maximum(high / (255 - other), -low / other)
        assert total <= np.square(tried / (high - low)).sum() + 1e-12
    assert shared_grid(low, high, 8, SYMMETRIC)[0] == 128
    assert shared_grid(np.zeros(2), np.array([0.0, 1.0]), 8, ONE_SIDED)[1].tolist() == [1 / 255, 1 / 255]

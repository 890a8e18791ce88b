"""Ranges that hold a share of what was observed, against a search over every share in NumPy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.quantizers import activations, weights
from ppcls_compress.slim.quant.quantizers.two_ended import AverageEnds, ShareOfAverageEnds

SHARES = np.linspace(0.01, 1.0, 400)


def relu_batch(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """What a layer reads behind a batch norm and a ReLU."""
    return scale * np.maximum(np.random.default_rng(seed).standard_normal((64, 8, 16, 16), np.float32), 0)


def error_of(values: np.ndarray, limit: float, low: int, high: int) -> float:
    """Mean squared error of the grid low .. high whose highest integer stands for `limit`."""
    step = limit / high
    return float(np.square(np.clip(np.rint(values / step), low, high) * step - values).mean())


def calibrated(values: np.ndarray, bits: int, **options):
    quantizer = activations.build("layer", QuantOptions(name="qat", activation_bits=bits, **options))
    seen = quantizer.observer()
    seen.add(values)
    quantizer.calibrate(seen)
    return quantizer


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_hold_the_share_of_an_activation_with_the_least_squared_error(bits):
    values = relu_batch()
    quantizer = calibrated(values, bits)
    quantizer.eval()
    least = min(error_of(values, share * values.max(), 0, 2**bits - 1) for share in SHARES)
    found = np.square(quantizer(paddle.to_tensor(values)).numpy() - values).mean()
    assert found == pytest.approx(least, rel=0.02)
    # On 2 bits the signed grid of the largest value leaves one in a hundred values that are not zero.
    assert found < 0.3 * error_of(values, values.max(), 0, 2 ** (bits - 1) - 1)


def test_a_tensor_with_both_signs_gets_a_symmetric_share():
    values = np.random.default_rng(0).standard_normal((64, 512), np.float32)
    quantizer = calibrated(values, 3)
    least = min(error_of(values, share * np.abs(values).max(), -4, 3) for share in SHARES)
    quantizer.eval()
    assert quantizer.zero_point == 4
    assert np.square(quantizer(paddle.to_tensor(values)).numpy() - values).mean() == pytest.approx(least, rel=0.1)


def test_a_free_zero_point_has_a_share_at_either_end():
    values = np.random.default_rng(0).standard_normal((64, 512), np.float32) + 1
    quantizer = calibrated(values, 3, asymmetric=True)
    quantizer.eval()
    found = np.square(quantizer(paddle.to_tensor(values)).numpy() - values).mean()
    plain = calibrated(values, 3, asymmetric=True, observed_range="largest")
    plain.eval()
    assert (type(quantizer), type(plain)) == (ShareOfAverageEnds, AverageEnds)
    assert found < 0.8 * np.square(plain(paddle.to_tensor(values)).numpy() - values).mean()


def test_the_share_follows_an_input_that_grows_and_is_part_of_the_state():
    quantizer = calibrated(relu_batch(), 2, moving_rate=0.5)
    before = quantizer.limit()
    quantizer.train()
    for _ in range(20):
        quantizer(paddle.to_tensor(relu_batch(scale=3.0)))
    assert quantizer.limit() == pytest.approx(3 * before, rel=1e-3)
    fresh = activations.build("layer", QuantOptions(name="qat", activation_bits=2, moving_rate=0.5))
    fresh.set_state_dict(quantizer.state_dict())
    assert fresh.limit() == quantizer.limit()


def test_zeros_and_what_is_not_calibrated_are_no_reason_to_fail():
    assert calibrated(np.zeros((2, 4), np.float32), 2).limit() > 0
    quantizer = activations.build("layer", QuantOptions(name="qat", activation_bits=2))
    quantizer.train()
    values = relu_batch()
    quantizer(paddle.to_tensor(values))
    assert quantizer.limit() < 0.8 * values.max()


def weight_of(kind: str, bits: int, values: np.ndarray):
    options = QuantOptions(name="pact", weight_bits=bits, weight_quantize_type=kind)
    return weights.build("layer", options, paddle.to_tensor(values), 0)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_hold_the_share_of_each_channel_with_the_least_squared_error(bits):
    values = np.random.default_rng(0).standard_normal((6, 16, 3, 3), np.float32) * np.arange(1, 7).reshape(6, 1, 1, 1)
    values[2] = 0.01
    values[2, 0, 0, 0] = 6.0  # an outlier that the least squared error keeps
    values[3] = 0
    quantizer = weight_of("channel_wise_abs_max", bits, values.astype(np.float32))
    weight = paddle.to_tensor(values.astype(np.float32), stop_gradient=False)
    rounded = quantizer(weight)
    rounded.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), np.ones_like(values))
    levels = 2 ** (bits - 1) - 1
    for row, found in zip(values, rounded.numpy(), strict=True):
        largest = np.abs(row).max()
        least = min(error_of(row, share * largest, -levels, levels) for share in SHARES) if largest else 0.0
        assert np.square(found - row).mean() == pytest.approx(least, rel=0.02, abs=1e-9)
    assert rounded.numpy()[2].max() == pytest.approx(6.0)


@pytest.mark.parametrize("kind", ["channel_wise_abs_max", "abs_max"])
def test_integers_of_a_share_say_what_was_trained(kind):
    values = np.random.default_rng(0).standard_normal((6, 16, 3, 3), np.float32)
    quantizer = weight_of(kind, 2, values)
    weight = paddle.to_tensor(values)
    rounded = quantizer(weight).numpy()
    grid = quantizer.grid(weight)
    assert set(np.unique(grid.integers)) == {-1, 0, 1}
    np.testing.assert_allclose(grid.integers * grid.along_axis(grid.scale), rounded, atol=1e-6)
    # The share stays while the weight moves, and comes back with the state.
    fresh = weight_of(kind, 2, 2 * values)
    fresh.set_state_dict(quantizer.state_dict())
    np.testing.assert_allclose(fresh(paddle.to_tensor(2 * values)).numpy(), 2 * rounded, rtol=1e-6)


@pytest.mark.parametrize("bits", [5, 8])
def test_more_bits_hold_the_largest_value_unless_asked(bits):
    assert calibrated(relu_batch(), bits).limit() == pytest.approx(relu_batch().max())
    asked = calibrated(relu_batch(), bits, observed_range="mse")
    assert asked.limit() < relu_batch().max()
    values = np.random.default_rng(0).standard_normal((4, 64), np.float32)
    limits = weight_of("channel_wise_abs_max", bits, values).limits(paddle.to_tensor(values))
    np.testing.assert_array_equal(limits.numpy(), np.abs(values).max(axis=1))


def test_where_nothing_is_observed_the_option_is_refused():
    for options in (
        {"name": "lsq"},
        {"name": "ptq"},
        {"compat": "paddleslim"},
        {"name": "qat", "backend": "paddleslim"},
    ):
        with pytest.raises(ConfigError, match="observed_range: 'mse' has no effect"):
            QuantOptions(observed_range="mse", **options)
    with pytest.raises(ConfigError, match="observed_range: mse has at most 15 bits"):
        QuantOptions(name="qat", observed_range="mse", activation_bits=16)


def test_a_record_from_before_shares_holds_the_largest_value():
    values = QuantOptions(name="qat", weight_bits=2, activation_bits=2).as_dict()
    del values["observed_range"]
    assert QuantOptions.from_dict(values).observed_range == "largest"


def test_a_network_on_two_bits_tells_its_inputs_apart():
    """The largest of a batch leaves so little that rounding takes nearly all of what a hidden layer gives."""
    paddle.seed(0)
    net = paddle.nn.Sequential(paddle.nn.Linear(16, 64), paddle.nn.ReLU(), paddle.nn.Linear(64, 64))
    images = paddle.to_tensor(np.random.default_rng(0).standard_normal((512, 16), np.float32))
    expected = net(images)
    left = {}
    for kind in ("largest", "auto"):
        options = QuantOptions(name="qat", weight_bits=2, activation_bits=2, observed_range=kind)
        model, _ = quant.prepare(net, options)
        quant.calibrate(model, [images])
        model.eval()
        left[kind] = float(((model(images) - expected) ** 2).mean() / (expected**2).mean())
        net = quant.convert(model)
    assert left["auto"] < 0.6 * left["largest"]

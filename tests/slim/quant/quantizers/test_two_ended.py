"""Grids with a free zero point, against NumPy."""

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.inference import FixedInput
from ppcls_compress.slim.quant.input_grid import quantizer_grid
from ppcls_compress.slim.quant.quantizers import activations, two_ended
from ppcls_compress.slim.quant.quantizers.histogram import Histogram

KINDS = [{"name": "ptq"}, {"name": "qat"}, {"name": "pact"}, {"name": "lsq"}]
SIDES = [two_ended.ONE_SIDED, two_ended.SYMMETRIC, two_ended.ASYMMETRIC]


def swish(scale: float = 6.0, seed: int = 0) -> np.ndarray:
    """What a hard-swish gives: down to -0.375, and far up."""
    x = scale * np.random.default_rng(seed).standard_normal((4, 3, 8, 8), np.float32)
    return x * np.clip(x + 3, 0, 6) / 6


def rounded(values: np.ndarray, low: float, high: float, bits: int) -> tuple[np.ndarray, float, int]:
    """The formula of an integer runtime; the rounded values, the step and the zero point."""
    top = 2**bits - 1
    step = np.float32((np.float32(high) - np.float32(low)) / np.float32(top))
    zero_point = int(np.clip(np.rint(-low / step), 0, top - 1))
    integers = np.clip(np.rint(values / step) + zero_point, 0, top)
    return (integers - zero_point) * step, float(step), zero_point


def calibrated(values: np.ndarray, **options):
    quantizer = activations.build("layer", QuantOptions(**{"asymmetric": True, **options}))
    seen = quantizer.observer()
    seen.add(values)
    quantizer.calibrate(seen)
    return quantizer


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["name"])
def test_rounding_is_that_of_an_integer_runtime(kind, bits):
    quantizer = activations.build("layer", QuantOptions(asymmetric=True, activation_bits=bits, **kind))
    quantizer.set_ends(-0.375, 11.0, two_ended.ASYMMETRIC)
    quantizer.eval()
    values = swish()
    expected, step, zero_point = rounded(values, -0.375, 11.0, bits)
    # Nothing here lies on a tie, so that float rounding is all that differs.
    np.testing.assert_allclose(quantizer(paddle.to_tensor(values)).numpy(), expected, atol=1e-5)
    assert quantizer.zero_point == zero_point
    assert quantizer.limit() == pytest.approx(step * (2**bits - 1 - zero_point), rel=1e-6)
    assert (quantizer(paddle.zeros([3])).numpy() == 0).all()
    fixed = FixedInput(quantizer_grid(quantizer))
    np.testing.assert_array_equal(fixed(paddle.to_tensor(values)).numpy(), quantizer(paddle.to_tensor(values)).numpy())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["name"])
def test_calibration_chooses_the_form_of_the_grid(kind):
    positive, both = np.abs(swish()), np.random.default_rng(1).uniform(-1, 1, (4, 3, 8, 8)).astype(np.float32)
    assert calibrated(positive, **kind, asymmetric="auto").zero_point == 0
    assert calibrated(both, **kind, asymmetric="auto").zero_point == 128
    assert calibrated(swish(), **kind, asymmetric="auto").zero_point < 40
    # True leaves the zero point where the values have it.
    assert calibrated(both - 0.02, **kind).zero_point not in (0, 128)


def test_a_symmetric_form_is_the_signed_grid_of_integer_kernels():
    values = np.random.default_rng(1).uniform(-1, 1, (4, 3, 8, 8)).astype(np.float32)
    grid = quantizer_grid(calibrated(values, name="ptq", activation_quantizer="AbsmaxQuantizer", asymmetric="auto"))
    assert (grid.zero_point, grid.unsigned, grid.full_range, grid.low, grid.high) == (None, False, True, -128, 127)
    assert grid.limit == pytest.approx(max(values.max(), -values.min() * 127 / 128), rel=1e-6)


def test_a_tensor_of_zeros_or_of_negative_values_has_a_grid():
    for values in (np.zeros((1, 2, 2, 2), np.float32), np.full((1, 2, 2, 2), -1.0, np.float32)):
        quantizer = calibrated(values, name="ptq", activation_quantizer="AbsmaxQuantizer")
        np.testing.assert_allclose(quantizer(paddle.to_tensor(values)).numpy(), values, atol=0.01)


def test_observed_ends_are_moving_averages():
    quantizer = calibrated(swish(), name="qat", moving_rate=0.5)
    quantizer.train()
    first, second = swish(), swish(2.0, 3)
    quantizer(paddle.to_tensor(second))
    low, high = (0.5 * end(first) + end(second) for end in (np.min, np.max))
    expected, _, zero_point = rounded(second, low / 1.5, high / 1.5, 8)
    quantizer.eval()
    assert quantizer.zero_point == zero_point
    np.testing.assert_allclose(quantizer(paddle.to_tensor(second)).numpy(), expected, atol=1e-5)
    quantizer.train()
    quantizer.observing = False
    quantizer(paddle.to_tensor(10 * first))
    np.testing.assert_allclose(quantizer(paddle.to_tensor(second)).numpy(), expected, atol=1e-5)


def gradients(quantizer, values, grad):
    quantizer.train()
    x = paddle.to_tensor(values, stop_gradient=False)
    y = quantizer(x)
    y.backward(paddle.to_tensor(grad))
    return y.numpy(), x.grad.numpy()


@pytest.mark.parametrize("sides", SIDES)
def test_pact_trains_both_ends_by_the_gradients_of_the_clip(sides):
    values = 4 * np.random.default_rng(5).standard_normal((4, 3, 8, 8), np.float32)
    grad = np.random.default_rng(6).standard_normal(values.shape, np.float32)
    low, high = {1: (0.0, 3.0), 2: (-128 / 127 * 3.0, 3.0), 3: (-1.0, 3.0)}[sides]
    quantizer = activations.build("layer", QuantOptions(asymmetric=True))
    quantizer.set_ends(low, high, sides)
    expected, step, zero_point = rounded(values, low, high, 8)
    y, grad_x = gradients(quantizer, values, grad)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    bottom, top = -zero_point * step, (255 - zero_point) * step
    np.testing.assert_array_equal(grad_x, grad * ((values > bottom) & (values < top)))
    above, below = grad[values >= top].sum(), grad[values <= bottom].sum()
    wanted = {1: [0, above], 2: [0, above - below * 128 / 127], 3: [below, above]}[sides]
    np.testing.assert_allclose(quantizer.ends.grad.numpy() / (high - low), wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sides", SIDES)
def test_lsq_trains_step_and_offset_as_lsq_plus_says(sides):
    values = 4 * np.random.default_rng(5).standard_normal((4, 3, 8, 8), np.float32)
    grad = np.random.default_rng(6).standard_normal(values.shape, np.float32)
    low, high = {1: (0.0, 3.0), 2: (-128 / 127 * 3.0, 3.0), 3: (-1.0, 3.0)}[sides]
    quantizer = activations.build("layer", QuantOptions(name="lsq", asymmetric=True))
    quantizer.set_ends(low, high, sides)
    expected, step, zero_point = rounded(values, low, high, 8)
    y, _ = gradients(quantizer, values, grad)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    v = values / step + zero_point
    slope = np.where(v <= 0, 0.0, np.where(v >= 255, 255.0, np.rint(v) - v))
    outside = (v <= 0) | (v >= 255)
    scaling = 1 / np.sqrt(3 * 8 * 8 * 255)
    grad_s, grad_offset = (grad * slope).sum(), (grad * outside).sum()
    wanted = {1: (grad_s, 0.0), 2: (grad_s - 128 * grad_offset, 0.0), 3: (grad_s, grad_offset)}[sides]
    found = quantizer.s.grad.item(), quantizer.offset.grad.item()
    np.testing.assert_allclose(found, np.array(wanted) * scaling, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["pact", "lsq"])
def test_a_step_moves_an_end_by_a_tenth_of_the_width_at_most(name):
    quantizer = calibrated(swish(), name=name)
    quantizer.train()
    quantizer(paddle.to_tensor(swish()))
    before = quantizer.limit()
    for parameter in quantizer.parameters():
        parameter.set_value(parameter + 100.0)
    quantizer(paddle.to_tensor(swish()))
    assert before < quantizer.limit() < 1.4 * before


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["name"])
def test_a_range_that_saw_nothing_is_refused_in_evaluation_and_a_state_restores_it(kind):
    fresh = activations.build("layer", QuantOptions(asymmetric=True, **kind))
    fresh.eval()
    with pytest.raises(UserError, match="layer: its activation range is not calibrated"):
        fresh(paddle.ones([1, 3, 2, 2]))
    other = calibrated(swish(), **kind)
    other.eval()
    assert fresh.set_state_dict({key: value.numpy() for key, value in other.state_dict().items()}) == ([], [])
    x = paddle.to_tensor(swish())
    np.testing.assert_array_equal(fresh(x).numpy(), other(x).numpy())


@pytest.mark.parametrize("name", ["qat", "pact", "lsq"])
def test_what_was_not_calibrated_starts_from_its_first_training_batch(name):
    quantizer = activations.build("layer", QuantOptions(asymmetric=True, name=name))
    quantizer.train()
    quantizer(paddle.to_tensor(swish()))
    assert quantizer.zero_point > 0
    other = activations.build("layer", QuantOptions(asymmetric=True, name="pact"))
    other.train()
    with pytest.raises(UserError, match="not finite"):
        other(paddle.full([1, 3, 2, 2], float("nan")))


def test_least_squared_error_of_two_ends_is_that_of_a_search_over_the_values():
    values = swish(6.0, 4).reshape(-1)
    low, high = Histogram.of(values).least_squares_ends(15)

    def error(limit: float) -> float:
        ends = max(values.min(), -limit), min(values.max(), limit)
        step = (ends[1] - ends[0]) / 15
        return float(np.square(np.clip(np.round(values / step) * step, *ends) - values).sum())

    tried = np.linspace(0.05, values.max(), 400)
    assert low == pytest.approx(values.min())
    assert error(high) < 1.02 * min(map(error, tried))

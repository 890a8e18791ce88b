"""Every quantizer against its formula in NumPy: forward and gradient, at 2, 4 and 8 bits."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.quantizers import activations, fake_quant, learned, pact, weights
from ppcls_compress.slim.quant.quantizers.histogram import BINS, Histogram

BITS = (2, 4, 8)
RNG = np.random.default_rng(7)


def half_away(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.floor(np.abs(values) + 0.5)


def grid(values: np.ndarray, limit: np.ndarray | float, levels: int, low: int | None = None) -> np.ndarray:
    limit = np.asarray(limit, np.float32)
    # In float32 and in the operators' order, so that halves fall on the same side.
    scaled = half_away(np.clip(values, -limit if low is None else low, limit) * (levels * (np.float32(1) / limit)))
    return scaled * limit / levels


def activation(unsigned: bool = False) -> tuple[np.ndarray, np.ndarray]:
    values = RNG.normal(size=(4, 6, 5, 5)).astype("float32") * 2
    return (np.abs(values) if unsigned else values), RNG.normal(size=values.shape).astype("float32")


def through(quantizer, values: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = paddle.to_tensor(values, stop_gradient=False)
    y = quantizer(x)
    y.backward(paddle.to_tensor(grad))
    return y.numpy(), x.grad.numpy()


def calibrated(options: QuantOptions, value: float, unsigned: bool = False):
    quantizer = activations.build("layer", options)
    quantizer.set_range(value, unsigned)
    return quantizer


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_pact_on_the_grid_of_alpha(bits, unsigned):
    values, grad = activation(unsigned)
    quantizer = calibrated(QuantOptions(activation_bits=bits, asymmetric=False), 1.5, unsigned)
    y, grad_x = through(quantizer, values, grad)
    levels = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    np.testing.assert_allclose(y, grid(values, 1.5, levels, 0 if unsigned else None), atol=1e-6)
    np.testing.assert_array_equal(grad_x, grad * (np.abs(values) < 1.5))
    expected = grad[values >= 1.5].sum() - (0 if unsigned else grad[values <= -1.5].sum())
    np.testing.assert_allclose(quantizer.log_alpha.grad.numpy() / 1.5, [expected], rtol=1e-4)
    assert np.unique(y).size <= 2**bits


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_pact_on_the_moving_average_grid(bits, unsigned):
    values, grad = activation(unsigned)
    quantizer = calibrated(QuantOptions(grid="moving_average", activation_bits=bits), 1.5, unsigned)
    y, grad_x = through(quantizer, values, grad)
    scale = (0.9 * 1 + 1.5) / (0.9 * 1 + 1)
    levels = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    clipped = np.clip(values, 0 if unsigned else -1.5, 1.5)
    np.testing.assert_allclose(y, grid(clipped, scale, levels), atol=1e-6)
    np.testing.assert_array_equal(grad_x, grad * (np.abs(values) < 1.5))
    expected = grad[values >= 1.5].sum() - (0 if unsigned else grad[values <= -1.5].sum())
    np.testing.assert_allclose(quantizer.log_alpha.grad.numpy() / 1.5, [expected], rtol=1e-4)
    quantizer.eval()
    limit = min(1.5, scale)
    np.testing.assert_allclose(quantizer(paddle.to_tensor(values)).numpy(), grid(values, limit, levels), atol=1e-6)
    assert quantizer.limit() == pytest.approx(limit)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_pact_clips_below_a_moving_average_that_has_not_followed_yet(bits, unsigned):
    values, grad = activation(unsigned)
    quantizer = calibrated(QuantOptions(grid="moving_average", activation_bits=bits), 1.0, unsigned)
    quantizer._accum.set_value(np.array([6.0], "float32"))
    y, grad_x = through(quantizer, values, grad)
    scale = (0.9 * 6 + 1.0) / 1.9
    levels = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    np.testing.assert_allclose(y, grid(np.clip(values, 0 if unsigned else -1.0, 1.0), scale, levels), atol=1e-6)
    np.testing.assert_array_equal(grad_x, grad * (np.abs(values) < 1.0))
    expected = grad[values >= 1.0].sum() - (0 if unsigned else grad[values <= -1.0].sum())
    # Where everything rounds to 0, alpha has no gradient.
    expected *= bool(y.any())
    assert bool(y.any()) == (bits > 2 or unsigned)
    np.testing.assert_allclose(quantizer.log_alpha.grad.numpy(), [expected], rtol=1e-4)


def test_gradients_of_the_clip_agree_between_the_kernels_of_cpu_and_gpu(monkeypatch):
    for unsigned in (False, True):
        values, grad = activation(unsigned)
        x, g, alpha = paddle.to_tensor(values), paddle.to_tensor(grad), paddle.to_tensor([1.5])
        clipped = pact.clip(x, alpha, unsigned)
        here = pact.clip_gradients(x, clipped, alpha, g, unsigned)
        with monkeypatch.context() as patch:
            patch.setattr(pact, "reads_scalars_at_once", lambda tensor: False)
            there = pact.clip_gradients(x, clipped, alpha, g, unsigned)
            np.testing.assert_array_equal(pact.clip(x, alpha, unsigned).numpy(), clipped.numpy())
        np.testing.assert_array_equal(here[0].numpy(), there[0].numpy())
        np.testing.assert_allclose(here[1].numpy(), there[1].numpy(), rtol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_moving_average(bits):
    options = QuantOptions(name="qat", activation_bits=bits, observed_range="largest", asymmetric=False)
    quantizer = activations.build("layer", options)
    accum = state = 1.0
    for _ in range(3):
        values, grad = activation()
        y, grad_x = through(quantizer, values, grad)
        accum, state = 0.9 * accum + np.abs(values).max(), 0.9 * state + 1
        scale = accum / state
        np.testing.assert_allclose(y, grid(values, scale, 2 ** (bits - 1) - 1), atol=1e-5)
        np.testing.assert_array_equal(grad_x, grad)
    quantizer.eval()
    np.testing.assert_allclose(quantizer(paddle.to_tensor(values)).numpy(), y, atol=1e-6)
    assert quantizer.limit() == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize("bits", BITS)
def test_abs_max(bits):
    quantizer = activations.build(
        "layer", QuantOptions(name="qat", activation_quantize_type="abs_max", activation_bits=bits)
    )
    for training in (True, False):
        quantizer.training = training
        values, grad = activation()
        y, grad_x = through(quantizer, values, grad)
        np.testing.assert_allclose(y, grid(values, np.abs(values).max(), 2 ** (bits - 1) - 1), atol=1e-6)
        np.testing.assert_array_equal(grad_x, grad)


@pytest.mark.parametrize("bits", BITS)
def test_range_abs_max_looks_back_on_a_window(bits):
    options = QuantOptions(name="qat", activation_quantize_type="range_abs_max", window_size=2, activation_bits=bits)
    quantizer = activations.build("layer", options)
    largest = []
    for size in (3.0, 1.0, 0.6, 0.23):
        values, grad = activation()
        values *= size / np.abs(values).max()
        largest.append(size)
        y, grad_x = through(quantizer, values, grad)
        np.testing.assert_allclose(y, grid(values, max(largest[-2:]), 2 ** (bits - 1) - 1), atol=1e-6)
        np.testing.assert_array_equal(grad_x, grad)
    quantizer.eval()
    assert quantizer.limit() == pytest.approx(0.6)
    np.testing.assert_allclose(quantizer(paddle.to_tensor(values)).numpy(), y, atol=1e-6)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_lsq_activation(bits, unsigned):
    values, grad = activation(unsigned)
    step = 3.0 / 2**bits
    quantizer = calibrated(
        QuantOptions(name="lsq", activation_bits=bits, asymmetric=False),
        step * fake_quant.levels(bits, unsigned),
        unsigned,
    )
    y, grad_x = through(quantizer, values, grad)
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    ratio = values / np.float32(step)
    whole = np.rint(ratio)
    np.testing.assert_allclose(y, np.clip(whole, low, high) * step, atol=1e-6)
    inside = (ratio > low) & (ratio < high)
    np.testing.assert_array_equal(grad_x, grad * inside)
    slope = np.where(ratio <= low, low, np.where(ratio >= high, high, np.clip(whole, low, high) - ratio))
    expected = (grad * slope).sum() / np.sqrt(values[0].size * high)
    np.testing.assert_allclose(quantizer.s.grad.numpy(), [expected], rtol=1e-3)


SHAPES = {0: (6, 3, 3, 3), 1: (6, 4)}


def weight_quantizer(kind: str, bits: int, axis: int, **options):
    values = RNG.normal(size=SHAPES[axis]).astype("float32")
    chosen = QuantOptions(name="qat", weight_quantize_type=kind, weight_bits=bits, observed_range="largest", **options)
    return values, weights.build("layer", chosen, paddle.to_tensor(values), axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", BITS)
def test_channel_wise_abs_max_weight(bits, axis):
    values, quantizer = weight_quantizer("channel_wise_abs_max", bits, axis)
    grad = RNG.normal(size=values.shape).astype("float32")
    y, grad_w = through(quantizer, values, grad)
    others = tuple(i for i in range(values.ndim) if i != axis)
    limit = np.abs(values).max(axis=others, keepdims=True)
    np.testing.assert_allclose(y, grid(values, limit, 2 ** (bits - 1) - 1), atol=1e-6)
    np.testing.assert_array_equal(grad_w, grad)
    as_integers = quantizer.grid(paddle.to_tensor(values))
    np.testing.assert_allclose(as_integers.integers * as_integers.along_axis(as_integers.scale), y, atol=1e-6)


@pytest.mark.parametrize("kind", ["abs_max", "moving_average_abs_max", "range_abs_max"])
@pytest.mark.parametrize("bits", BITS)
def test_weights_on_one_grid(kind, bits):
    values, quantizer = weight_quantizer(kind, bits, 0)
    grad = RNG.normal(size=values.shape).astype("float32")
    y, grad_w = through(quantizer, values, grad)
    largest = np.abs(values).max()
    limit = (0.9 + largest) / 1.9 if kind == "moving_average_abs_max" else largest
    np.testing.assert_allclose(y, grid(values, limit, 2 ** (bits - 1) - 1), atol=1e-6)
    np.testing.assert_array_equal(grad_w, grad)


@pytest.mark.parametrize("kind", ["moving_average_abs_max", "range_abs_max"])
def test_an_observed_weight_range_starts_from_the_weight_when_evaluated_first(kind):
    values, quantizer = weight_quantizer(kind, 8, 0)
    quantizer.eval()
    y = quantizer(paddle.to_tensor(values)).numpy()
    np.testing.assert_allclose(y, grid(values, np.abs(values).max(), 127), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "axis"), [("lsq_weight", 0), ("channel_wise_lsq_weight", 0), ("channel_wise_lsq_weight", 1)]
)
@pytest.mark.parametrize("bits", BITS)
def test_lsq_weight(kind, axis, bits):
    values, quantizer = weight_quantizer(kind, bits, axis)
    grad = RNG.normal(size=values.shape).astype("float32")
    y, grad_w = through(quantizer, values, grad)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    others = tuple(i for i in range(values.ndim) if i != axis or kind == "lsq_weight")
    largest = np.abs(values).max(axis=others, keepdims=True)
    step = quantizer.s.numpy().reshape(largest.shape)
    tried = [step, *(largest / high * share for share in np.linspace(0.1, 1.0, 37))]
    errors = [np.square(np.clip(np.rint(values / s), -high, high) * s - values).sum(axis=others) for s in tried]
    assert (errors[0] <= 1.01 * np.min(errors, axis=0)).all()  # it starts where the squared error is least
    ratio = values / step.astype("float32")
    whole = np.clip(np.rint(ratio), low, high)
    np.testing.assert_allclose(y, whole * step, atol=1e-5)
    inside = (ratio > low) & (ratio < high)
    np.testing.assert_array_equal(grad_w, grad * inside)
    slope = np.where(inside, whole - ratio, whole)
    expected = (grad * slope).sum(axis=others).reshape(-1) / np.sqrt(values.size / step.size * high)
    np.testing.assert_allclose(quantizer.s.grad.numpy(), expected, rtol=2e-3, atol=1e-5)
    as_integers = quantizer.grid(paddle.to_tensor(values))
    np.testing.assert_allclose(as_integers.integers * as_integers.along_axis(as_integers.scale), y, atol=1e-5)
    assert as_integers.integers.min() >= low


@pytest.mark.parametrize("name", ["pact", "moving_average", "lsq"])
@pytest.mark.parametrize("bits", BITS)
def test_the_one_sided_form_cuts_negative_values_off(name, bits):
    """Calibrated where nothing was negative, and then given what is: 0, without a gradient for it or for the range."""
    kinds = {"pact": {}, "moving_average": {"grid": "moving_average"}, "lsq": {"name": "lsq"}}
    values, _ = activation()
    values[np.abs(values) < 0.01] = 0.5
    quantizer = calibrated(QuantOptions(activation_bits=bits, **kinds[name]).as_paddleslim(), 1.5, unsigned=True)
    negative = values < 0
    y, grad_x = through(quantizer, values, negative.astype("float32"))
    assert (y[negative] == 0).all()
    assert y.max() <= 1.5 * (1 + 1e-6)
    assert (grad_x == 0).all()
    assert quantizer.learned.grad.item() == 0
    assert quantizer.clip_rate() == pytest.approx((values[:1] > 1.5).mean(), abs=1e-6)


@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform"])
@pytest.mark.parametrize("bits", range(2, 17))
def test_lsq_never_starts_beyond_the_largest_magnitude(bits, draw):
    values = getattr(RNG, draw)(size=(6, 50)).astype("float32")
    for unsigned in (False,) if bits == 16 else (False, True):
        seen = np.abs(values) if unsigned else values
        inputs = activations.build("layer", QuantOptions(name="lsq", activation_bits=bits, unsigned=unsigned))
        inputs.calibrate_from(paddle.to_tensor(seen))
        assert 0 < inputs.limit() <= np.abs(seen).max() * (1 + 1e-6)
    for kind, axes in (("lsq_weight", (0, 1)), ("channel_wise_lsq_weight", (1,))):
        options = QuantOptions(name="qat", weight_quantize_type=kind, weight_bits=bits)
        weight = paddle.to_tensor(values)
        quantizer = weights.build("layer", options, weight, axis=0)
        quantizer(weight)
        limits = quantizer.limits(weight).numpy()
        assert (limits > 0).all()
        assert (limits <= np.abs(values).max(axis=axes) * (1 + 1e-6)).all()


def test_weight_preprocessing_clips_to_a_range_of_its_own():
    options = QuantOptions(name="qat", weight_preprocess_type="PACT", weight_bits=3)
    clip = weights.build_preprocess("layer", options)
    values = np.append(RNG.normal(size=999), 30.0).astype("float32").reshape(10, 100)
    grad = np.ones_like(values)
    y, grad_w = through(clip, values, grad)
    alpha = clip.range()
    assert 1.5 < alpha < 6
    np.testing.assert_allclose(y, np.clip(values, -alpha, alpha), atol=1e-6)
    np.testing.assert_array_equal(grad_w, grad * (np.abs(values) < alpha))


def test_paddleslims_pact_starts_and_learns_as_upstream():
    layer = learned.PaddleSlimPact()
    assert layer.alpha.item() == 100
    assert layer.alpha.optimize_attr["learning_rate"] == 1000
    layer.alpha.set_value(np.array([1.5], "float32"))
    values, grad = activation()
    y, grad_x = through(layer, values, grad)
    np.testing.assert_allclose(y, np.clip(values, -1.5, 1.5), atol=1e-6)
    np.testing.assert_array_equal(grad_x, grad * (np.abs(values) <= 1.5))
    np.testing.assert_allclose(
        layer.alpha.grad.numpy(), [grad[values > 1.5].sum() - grad[values < -1.5].sum()], rtol=1e-3
    )


@pytest.mark.parametrize("kind", ["moving_average_abs_max", "abs_max"])
def test_forward_equals_paddles_own_quantization_layers(kind):
    from paddle.nn.quant import quant_layers

    values, _ = activation()
    ours = activations.build("layer", QuantOptions(name="qat", activation_quantize_type=kind).as_paddleslim())
    theirs = {
        "abs_max": quant_layers.FakeQuantAbsMax,
        "moving_average_abs_max": quant_layers.FakeQuantMovingAverageAbsMax,
    }[kind]()
    for training in (True, True, False):
        ours.training = theirs.training = training
        np.testing.assert_allclose(
            ours(paddle.to_tensor(values)).numpy(), theirs(paddle.to_tensor(values)).numpy(), atol=1e-6
        )


def test_no_rounding_is_traced_into_the_gradient_of_a_frozen_model():
    quantizer = calibrated(QuantOptions(asymmetric=False), 1.0)
    quantizer.log_alpha.stop_gradient = True
    x = paddle.to_tensor([[0.5, 2.0]], stop_gradient=False)
    quantizer(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[1.0, 0.0]])
    assert quantizer.log_alpha.grad is None


def test_alpha_trains_on_an_input_that_needs_no_gradient():
    quantizer = calibrated(QuantOptions(asymmetric=False), 1.0)
    quantizer(paddle.to_tensor([[0.5, 2.0, -3.0, -4.0]])).sum().backward()
    np.testing.assert_allclose(quantizer.log_alpha.grad.numpy(), [-1.0])


def test_levels():
    assert [fake_quant.levels(bits) for bits in (2, 8, 16)] == [1, 127, 32767]
    assert fake_quant.levels(8, unsigned=True) == 255


class TestHistogram:
    def test_merging_equals_one_histogram_of_everything(self):
        parts = [RNG.normal(size=5000).astype("float32") * size for size in (0.1, 1.0, 37.0)]
        merged = Histogram.merged([Histogram.of(part) for part in parts])
        whole = Histogram.of(np.concatenate(parts))
        np.testing.assert_array_equal(merged.counts, whole.counts)
        assert (merged.top, merged.largest, merged.negative) == (whole.top, whole.largest, True)

    @pytest.mark.parametrize(
        "values",
        [
            RNG.normal(size=(64, 3, 9)),
            [-2, 2, -1, 0, -0.0, 1e-9, -1e-9, 1.999],
            RNG.integers(-4, 5, 5000),
            -np.abs(RNG.normal(size=99)),
            [1e-44, -1e-44, 0],
            [0, 0],
        ],
    )
    def test_values_of_either_sign_are_counted_by_magnitude(self, values):
        values = np.asarray(values, "float32")
        found, flat = Histogram.of(values), values.reshape(-1)
        if found.top > 1e-35:
            edges = np.linspace(0, found.top, BINS + 1) if found.top else np.linspace(0, 1, BINS + 1)
            np.testing.assert_array_equal(found.below, np.histogram(-flat[flat < 0], edges)[0])
            np.testing.assert_array_equal(found.counts - found.below, np.histogram(flat[flat >= 0], edges)[0])
        assert (found.counts.sum(), found.below.sum()) == (flat.size, (flat < 0).sum())

    def test_percentile(self):
        values = np.abs(RNG.normal(size=200_000)).astype("float32")
        assert Histogram.of(values).percentile(99.0) == pytest.approx(np.percentile(values, 99), rel=0.01)
        assert Histogram.of(values).percentile(100.0) == pytest.approx(values.max(), rel=1e-6)

    @pytest.mark.parametrize("levels", [1, 7, 127])
    def test_least_squares_finds_the_best_range(self, levels):
        values = RNG.normal(size=50_000).astype("float32")
        found = Histogram.of(values).least_squares(levels)

        def error(limit):
            return np.square(grid(values, limit, levels) - values).mean()

        best = min(error(limit) for limit in np.linspace(0.05, 1, 60) * np.abs(values).max())
        assert error(found) <= best * 1.03

    def test_zeros_and_single_values(self):
        zeros = Histogram.of(np.zeros((3, 4), "float32"))
        assert (zeros.least_squares(127), zeros.percentile(99.9), zeros.negative) == (0.0, 0.0, False)
        merged = Histogram.merged([zeros, Histogram.of(np.full(4, 2.0, "float32"))])
        assert merged.least_squares(127) == 2.0

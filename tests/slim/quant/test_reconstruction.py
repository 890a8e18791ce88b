"""The rounding of weights that is learned layer by layer."""

import itertools
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim import quant, recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions
from ppcls_compress.slim.options.reconstruction import Reconstruction
from ppcls_compress.slim.quant.reconstruction.moments import Moments, patches, places, rows
from ppcls_compress.slim.quant.reconstruction.rounding import Problem, learned, nearest

QUICK = {"iterations": 200}
CONVOLUTIONS = (
    {"padding": 1},
    {"padding": "SAME", "stride": 2},
    {"padding": "VALID"},
    {"padding": [0, 1, 2, 1], "dilation": 2},
    {"padding": [[0, 0], [0, 0], [1, 0], [2, 1]]},
    {"groups": 4, "padding": 1, "padding_mode": "reflect"},
    {"data_format": "NHWC", "padding": 1},
)


def images(seed: int = 0) -> paddle.Tensor:
    """Channels that go together, so that errors of weights can make up for each other."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((24, 1, 8, 8), np.float32)
    return paddle.to_tensor(shared + 0.3 * rng.standard_normal((24, 4, 8, 8), np.float32))


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(7)
        self.first = nn.Conv2D(4, 8, 3, padding=1)
        self.act = nn.ReLU()
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8, bias_attr=False)
        self.again = nn.Conv2D(8, 8, 1)
        self.pool = nn.AdaptiveAvgPool2D(2)
        self.last = nn.Linear(32, 5)

    def forward(self, x):
        x = self.act(self.first(x))
        x = self.act(self.again(self.act(self.again(x) + self.depthwise(x))))
        return self.last(self.pool(x).flatten(1))


def calibrated(reconstruction: dict | None = QUICK, **options):
    options = QuantOptions(name="ptq", **{"weight_bits": 3, "reconstruction": reconstruction, **options})
    model, _ = quant.prepare(Network(), options, inputs=[[2, 4, 8, 8]])
    done = quant.calibrate(model, [images(), images(1)], reconstruction=options.reconstruction)
    model.eval()
    return model, done


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_is_its_weight_times_the_patches_of_its_input(options):
    groups, last = options.get("groups", 1), options.get("data_format") == "NHWC"
    conv = nn.Conv2D(4, 8, 3, bias_attr=False, **options)
    x = paddle.randn([3, 9, 11, 4] if last else [3, 4, 9, 11])
    expected = conv(x).transpose([0, 3, 1, 2] if last else [0, 1, 2, 3]).numpy()
    expected = expected.reshape(3, groups, 8 // groups, -1).transpose(1, 2, 0, 3).reshape(groups, 8 // groups, -1)
    np.testing.assert_allclose(rows(conv, conv.weight.numpy()) @ patches(conv, x), expected, atol=1e-5)
    where = np.array([0, 3, 7])
    chosen = expected.reshape(groups, 8 // groups, 3, -1)[..., where].reshape(groups, 8 // groups, -1)
    np.testing.assert_allclose(rows(conv, conv.weight.numpy()) @ patches(conv, x, where), chosen, atol=1e-5)


def test_places_stand_for_an_image_only_where_it_has_more():
    conv, x = nn.Conv2D(4, 8, 3), images()
    assert places(quant.prepare(nn.Sequential(conv), QuantOptions(name="ptq"))[0][0], x, 36, None) is None
    layer = quant.prepare(nn.Sequential(nn.Conv2D(4, 8, 3)), QuantOptions(name="ptq"))[0][0]
    drawn = places(layer, x, 35, np.random.default_rng(1))
    assert len(set(drawn)) == 35
    assert 0 <= drawn.min() <= drawn.max() < 36


def problem(depth: int = 8) -> tuple[Problem, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    mixed = rng.standard_normal((depth, depth)) * np.linspace(1, 0.02, depth)
    x = (mixed @ rng.standard_normal((1, depth, 200))).astype(np.float32)
    weight = rng.standard_normal((1, 3, depth))
    y = (weight @ (x + 0.1 * rng.standard_normal(x.shape))).astype(np.float32)
    moments = Moments(*weight.shape)
    for part in (slice(0, 120), slice(120, None)):
        moments.add(x[:, :, part], y[:, :, part])
    return Problem(weight, *moments.products(centred=False), levels=3), x, y


def test_the_error_is_that_of_the_samples():
    found, x, y = problem()
    q = nearest(found.weight, found.widest(), 3)
    expected = np.square(q @ x - y).sum(axis=1).mean() - np.square(y).sum(axis=1).mean()
    assert found.error(q) == pytest.approx(expected, rel=1e-4)


def test_moments_around_the_means_are_covariances():
    _, x, y = problem()
    moments = Moments(1, 3, 8)
    moments.add(x, y)
    xx, yx = moments.products(centred=True)
    joint = np.cov(np.concatenate([x[0], y[0]]), bias=True)
    np.testing.assert_allclose(xx[0], joint[:8, :8], atol=1e-4)
    np.testing.assert_allclose(yx[0], joint[8:, :8], atol=1e-4)
    assert moments.power(centred=True) == pytest.approx(np.trace(joint[8:, 8:]), rel=1e-4)


def test_what_is_learned_is_close_to_the_best_of_all_roundings_up_and_down():
    found, _, _ = problem(12)
    damped = found.damped(1e-6)
    step = damped.best_ends() / 3
    low = np.floor(found.weight / step)
    best = 0.0
    for row in range(3):
        choices = np.array(list(itertools.product((0, 1), repeat=12)))
        q = np.clip(low[0, row] + choices, -3, 3) * step[0, row]
        best += (((q @ found.xx[0]) * q).sum(axis=1) - 2 * q @ found.yx[0, row]).min()
    got = found.error(learned(found, Reconstruction(damping=1e-6)))
    plain = found.error(nearest(found.weight, damped.best_ends(), 3))
    assert plain - got > 0.6 * (plain - best) > 0


def test_a_network_loses_less_and_equally_each_time():
    exact = Network()
    exact.eval()
    expected = exact(images(2)).numpy()
    losses = []
    for reconstruction in (None, QUICK):
        model, _ = calibrated(reconstruction)
        losses.append(np.square(model(images(2)).numpy() - expected).mean())
    assert losses[1] < 0.6 * losses[0]
    again, done = calibrated()
    np.testing.assert_array_equal(again(images(2)).numpy(), model(images(2)).numpy())
    assert [row.layer for row in done] == ["first", "again", "depthwise", "last"]
    assert all(row.learned < row.nearest for row in done)


@pytest.mark.parametrize("centred", [True, False])
def test_a_layer_whose_output_never_varies_has_no_share_of_error(centred):
    options = QuantOptions(name="ptq", reconstruction={"iterations": 2}, bias_correction=centred)
    model = Network()
    model.again.weight.set_value(paddle.zeros_like(model.again.weight))
    model.again.bias.set_value(paddle.full_like(model.again.bias, 0.5))
    model, _ = quant.prepare(model, options, inputs=[[2, 4, 8, 8]])
    done = quant.calibrate(model, [images()], reconstruction=options.reconstruction)
    # The last layer reads a bias alone: its output is not zero, but varies as little.
    assert [row.layer for row in done] == ["first", "depthwise", *([] if centred else ["last"])]
    assert np.isfinite(model(images(1)).numpy()).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"weight_quantizer": "AbsmaxQuantizer"}, {"bias_correction": False}, {"placement": "deploy"}],
    ids=str,
)
def test_weights_lie_on_their_grids_and_are_deployed_as_they_are(options):
    model, done = calibrated(**options)
    assert all(row.learned < row.nearest for row in done)
    for name, grid in quant.grids(model).items():
        layer = dict(model.named_sublayers())[name]
        weight = grid.weight.integers * grid.weight.along_axis(grid.weight.scale)
        np.testing.assert_allclose(layer.weight.numpy(), weight, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(layer.quantized_weight().numpy(), layer.weight.numpy(), rtol=1e-6, atol=1e-9)
    deployed = quant.to_inference(model)
    np.testing.assert_allclose(deployed(images(2)).numpy(), model(images(2)).numpy(), atol=1e-5)


def test_a_record_tells_of_it_and_rebuilds_the_network():
    options = SlimOptions(quant=QuantOptions(name="ptq", weight_bits=3, reconstruction=QUICK))
    shown = []
    context = recipe.Context(lambda: [images()], shown=lambda items, what: shown.append((len(items), what)) or items)
    model, record = recipe.compress(Network(), options, [[2, 4, 8, 8]], context=context)
    model.eval()
    assert shown == [(4, "rounding weights")]
    record = json.loads(json.dumps(record))
    (step,) = record["steps"]
    assert [row["layer"] for row in step["reconstructed"]] == ["first", "again", "depthwise", "last"]
    assert "weights of 4 layers rounded by what they do" in recipe.describe(step)[-1]
    again = recipe.rebuild(Network(), record)
    again.set_state_dict(model.state_dict())
    again.eval()
    np.testing.assert_array_equal(again(images(2)).numpy(), model(images(2)).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ptq", "reconstruction": {"iteration": 5}}, "reconstruction: .*iterations"),
        ({"name": "ptq", "reconstruction": {"iterations": 0}}, "reconstruction.iterations: 0 is not a whole number"),
        ({"name": "ptq", "reconstruction": {"damping": 0}}, "reconstruction.damping: 0 is not a finite number above 0"),
        ({"name": "ptq", "reconstruction": 5}, "reconstruction: a mapping such as"),
        ({"name": "pact", "reconstruction": {}}, "reconstruction: .* has no effect with name: pact"),
        ({"name": "ptq", "reconstruction": {}, "weight_quantize": "a.B"}, "weight_quantize is a class of yours"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        QuantOptions(**options)

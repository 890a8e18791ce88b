"""weight_norm and spectral_norm: quantized as the plain weights that they compute."""

import copy
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import PTQ, QAT, quant, recipe
from ppcls_compress.slim.options import QuantOptions

X = paddle.to_tensor(np.random.default_rng(1).standard_normal((16, 3, 12, 12)).astype("float32"))


class Normed(nn.Layer):
    """Both norms, before a batch norm and alone, and one along another axis."""

    def __init__(self, *, plain=False):
        super().__init__()
        weight = (lambda layer, **_: layer) if plain else nn.utils.weight_norm
        spectral = (lambda layer, **_: layer) if plain else nn.utils.spectral_norm
        self.a = weight(nn.Conv2D(3, 8, 3))
        self.norm = nn.BatchNorm2D(8)
        self.b = spectral(nn.Conv2D(8, 8, 3))
        self.c = weight(nn.Linear(8, 6), dim=1)
        self.d = spectral(nn.Linear(6, 5))

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.a(x)))
        return self.d(self.c(self.b(x).mean([2, 3])))


def trained():
    """With norms that have seen data, and weights whose length is not one."""
    paddle.seed(3)
    net = Normed()
    for layer in (net.a, net.c):
        layer.weight_g.set_value(layer.weight_g.numpy() * 1.7)
    for _ in range(5):
        net(X)
    net.eval()
    net(X)
    return net


def by_hand(net):
    """The plain network with the weights that the formulas give."""
    plain = Normed(plain=True)
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    for name, axes in (("a", (1, 2, 3)), ("c", (0,))):
        direction, length = state.pop(f"{name}.weight_v"), state.pop(f"{name}.weight_g")
        unit = direction / np.sqrt((direction**2).sum(axis=axes, keepdims=True))
        state[f"{name}.weight"] = unit * length.reshape([-1, 1, 1, 1] if name == "a" else [1, -1])
    for name in ("b", "d"):
        weight, u, v = (state.pop(f"{name}.weight_{part}") for part in ("orig", "u", "v"))
        matrix = weight.reshape(len(u), -1) if name == "b" else weight.T  # outputs first
        state[f"{name}.weight"] = weight / (u @ matrix @ v)
    assert plain.set_state_dict(state) == ([], [])
    plain.eval()
    return plain


OPTIONS = [
    {"name": "qat"},
    {"name": "lsq"},
    {"name": "ptq"},
    {"name": "pact", "placement": "deploy"},
    {"name": "qat", "fuse_conv_bn": True},
]


def prepared(net, options):
    model, record = quant.prepare(net, QuantOptions(**options), inputs=[[1, 3, 12, 12]])
    quant.calibrate(model, [X])
    model.eval()
    return model, record


def assert_close(model, other):
    """Equal to float rounding; a value next to a rounding boundary may fall on its other side."""
    assert (np.abs(model(X).numpy() - other(X).numpy()) < 1e-5).mean() > 0.9


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "_".join(map(str, options.values())))
def test_quantized_as_the_weights_that_the_norms_compute(options):
    net = trained()
    plain = by_hand(net)
    np.testing.assert_allclose(plain(X).numpy(), net(X).numpy(), atol=1e-5)
    reference, _ = prepared(plain, options)
    model, record = prepared(net, options)
    assert_close(model, reference)
    assert record["normed"] == ["a", "b", "c", "d"]
    assert "weights that a norm computed are parameters now: a, b, c, d" in "\n".join(recipe.describe(record))
    assert_close(quant.to_inference(model), model)
    model.train()
    model(X).sum().backward()
    assert model.a.weight.grad is not None
    model.eval()
    fresh = quant.apply_record(Normed(), json.loads(json.dumps(record)))
    assert fresh.set_state_dict(model.state_dict()) == ([], [])
    fresh.eval()
    np.testing.assert_array_equal(fresh(X).numpy(), model(X).numpy())


def test_converted_back_the_weights_stay_plain_and_a_record_rebuilds_them():
    net = trained()
    expected = net(X).numpy()
    model, record = prepared(net, {"name": "qat"})
    step = quant.fold_step(record)
    plain = quant.convert(model)
    np.testing.assert_allclose(plain(X).numpy(), expected, atol=1e-5)
    fresh = quant.apply_fold(Normed(), json.loads(json.dumps(step)))
    assert fresh.set_state_dict(plain.state_dict()) == ([], [])
    fresh.eval()
    np.testing.assert_array_equal(fresh(X).numpy(), plain(X).numpy())


def test_what_is_not_quantized_keeps_its_norm():
    model, record = prepared(trained(), {"name": "qat", "skip": ["b", "c"]})
    assert record["normed"] == ["a", "d"]
    assert {"b.weight_orig", "c.weight_g"} < set(model.state_dict())


def test_a_folding_that_fails_gives_the_norm_back(monkeypatch):
    net = trained()
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    expected = net(X).numpy()
    monkeypatch.setattr("ppcls_compress.slim.quant.fold._TOLERANCE", -1.0)
    with pytest.warns(UserWarning, match="norm is not folded into a"):
        assert quant.fold_batch_norms(net, [[1, 3, 12, 12]]) == []
    assert {name: value.numpy().tolist() for name, value in net.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    np.testing.assert_array_equal(net(X).numpy(), expected)
    net.a.weight_g.set_value(2 * net.a.weight_g.numpy())
    assert not np.array_equal(net(X).numpy(), expected)


def test_rate_decay_and_freezing_of_the_weight_are_kept():
    net = nn.Sequential(nn.Conv2D(3, 4, 1, weight_attr=paddle.ParamAttr(learning_rate=0.5)))
    nn.utils.spectral_norm(net[0])
    net[0].weight_orig.stop_gradient = True
    model, _ = prepared(net, {"name": "qat"})
    assert model[0].weight.stop_gradient
    assert model[0].weight.optimize_attr["learning_rate"] == net[0].weight.optimize_attr["learning_rate"]


def test_paddleslims_classes():
    net = trained()
    expected = net(X).numpy()
    trained_on, ptq = QAT().quantize(copy.deepcopy(net)), PTQ()
    quant.calibrate(trained_on, [X])
    observed = ptq.quantize(net, fuse=True, inputs=[[1, 3, 12, 12]])
    np.testing.assert_allclose(observed(X).numpy(), expected, atol=1e-5)
    for model in (trained_on, ptq.convert(observed)):
        assert "a.weight" in model.state_dict()
        assert 0 < np.abs(model(X).numpy() - expected).max() < 0.1 * np.abs(expected).max()
    assert isinstance(observed.norm, nn.Identity)


class Standardized(nn.Layer):
    """A weight that a hook of the user's own computes."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Linear(8, 5)
        raw = self.conv.weight
        del self.conv._parameters["weight"]
        self.conv.raw = raw
        self.conv.register_forward_pre_hook(self.standardize)

    @staticmethod
    def standardize(layer, inputs):
        layer.weight = layer.raw - layer.raw.mean(axis=[1, 2, 3], keepdim=True)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean([2, 3]))


def test_a_weight_that_something_else_computes_stays_float_and_is_named():
    net = Standardized()
    net.eval()
    model, record = prepared(net, {"name": "pact", "placement": "deploy"})
    assert record["quantized"] == ["fc"]
    assert record["skipped"][0] == {
        "layer": "conv",
        "type": "Conv2D",
        "reason": "its weight is no parameter, something else computes it",
    }
    assert record["folded"] == []
    assert np.isfinite(quant.to_inference(model)(X).numpy()).all()

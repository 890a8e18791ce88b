"""Layers of classes that users derive from Paddle's keep their class when quantized, deployed and converted back."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import PTQ, QAT, quant
from ppcls_compress.slim.options import QuantOptions

X = paddle.to_tensor(np.random.default_rng(2).standard_normal((8, 3, 12, 12)).astype("float32"))
MADE = []


class Counted:
    """A mix-in that keeps a list of the classes derived from it."""

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        MADE.append(cls)


class Scaled(Counted, nn.Conv2D):
    gain = 3.0

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.times = 2.0

    def scaled(self, x):
        return self(x) * self.gain * self.times

    @property
    def channels(self):
        return self.weight.shape[0]


class Named(nn.Linear):
    def __init__(self, *args):
        super().__init__(*args)
        self.title = "head"

    @classmethod
    def kind(cls):
        return "named"


class Up(nn.Conv2DTranspose):
    factor = 2


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.up, self.head = Scaled(3, 8, 3), Up(8, 8, 2, stride=2), Named(8, 5)

    def forward(self, x):
        x = self.conv.scaled(x) if isinstance(self.conv, Scaled) else x.mean() + 0 * self.conv(x)
        x = self.up(x) / self.up.factor if isinstance(self.up, Up) else 0 * self.up(x)
        assert (self.conv.channels, self.head.title, type(self.head).kind()) == (8, "head", "named")
        return self.head(x.mean([2, 3]))


TYPES = ["Conv2D", "Conv2DTranspose", "Linear"]


@pytest.mark.parametrize(
    "options", [{"name": "qat"}, {"name": "ptq", "bias_correction": False}, {"name": "pact", "placement": "deploy"}]
)
def test_methods_attributes_and_isinstance(options):
    paddle.seed(1)
    net = Net()
    net.eval()
    expected = net(X).numpy()
    model, record = quant.prepare(net, QuantOptions(quantizable_layer_type=TYPES, **options), inputs=[[1, 3, 12, 12]])
    quant.calibrate(model, [X])
    model.eval()
    found = model(X).numpy()
    assert len(record["quantized"]) == 3
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    deployed = quant.to_inference(model)
    np.testing.assert_allclose(deployed(X).numpy(), found, atol=1e-5)
    for net in (model, deployed, copy.deepcopy(model)):
        assert (isinstance(net.conv, Scaled), isinstance(net.up, Up), isinstance(net.head, Named)) == (True,) * 3
        assert np.isfinite(net.conv.scaled(X).numpy()).all()
    plain = quant.convert(model)
    assert [type(layer) for layer in (plain.conv, plain.up, plain.head)] == [Scaled, Up, Named]
    np.testing.assert_allclose(plain(X).numpy(), expected, atol=1e-5)


def test_paddleslims_classes():
    net = Net()
    net.eval()
    for model in (QAT().quantize(copy.deepcopy(net)), PTQ().quantize(net)):
        assert isinstance(model.conv, Scaled)
        assert model.conv.gain == 3.0


def test_classes_are_made_once_and_are_none_of_the_users_own():
    made = list(MADE)
    first, second = (QAT().quantize(Net()).conv for _ in range(2))
    assert type(first) is type(second)
    assert type(first).__name__ == "QuantScaled"
    assert made == MADE == [Scaled]


class Clashing(nn.Conv2D):
    def compute(self, x):
        return self(x) + 1


class Computed(nn.Conv2D):
    @property
    def weight(self):
        return self._parameters["weight"] * 2

    @weight.setter
    def weight(self, value):
        self._parameters["weight"] = value


class OtherCall(nn.Linear):
    def __call__(self, x):
        return 2 * super().__call__(x)


def patched():
    layer = nn.Linear(8, 8)
    layer.forward = lambda x: 3 * nn.functional.linear(x, layer.weight, layer.bias)
    return layer


def marked():
    layer = nn.Linear(8, 8)
    layer.rounding = "up"
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Computed(8, 8, 1), "its class has a 'weight' of its own, which a quantized layer needs for itself"),
        (lambda: Clashing(8, 8, 1), "its class has a 'compute' of its own, which a quantized layer needs for itself"),
        (marked, "its class has a 'rounding' of its own, which a quantized layer needs for itself"),
        (lambda: OtherCall(8, 8), "its class computes something of its own in forward"),
        (patched, "forward is replaced on the layer itself"),
    ],
)
def test_what_cannot_be_both_stays_float_and_is_named(make, reason):
    layer = make()
    net = nn.Sequential(nn.Linear(8, 8), layer)
    x = paddle.rand([2, 8, 8, 8])
    before = layer(x).numpy()
    model, record = quant.prepare(net, QuantOptions(name="qat"))
    assert [(item["layer"], item["reason"]) for item in record["skipped"]] == [("1", reason)]
    assert model[1] is layer
    np.testing.assert_array_equal(model[1](x).numpy(), before)

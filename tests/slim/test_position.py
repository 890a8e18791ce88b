"""Refusals name the layer: what fails, what is not finite, what answers differently each time."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export

from ppcls_compress.deploy import verify
from ppcls_compress.errors import UserError
from ppcls_compress.slim import PTQ, QAT, dygraph_flops, quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.position import failures_told, first_unsteady, position

SHAPE = (3, 8, 8)
X = np.random.default_rng(0).standard_normal((8, *SHAPE)).astype("float32")


class Inner(nn.Layer):
    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


class Net(nn.Layer):
    """Convolution, a layer that does something odd, classifier."""

    def __init__(self, compute):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.ReLU())
        self.odd = nn.Sequential(Inner(compute))
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.odd(self.stem(x)).mean([2, 3]))


def network(compute):
    net = Net(compute)
    net.eval()
    return net


def raising(x):
    raise KeyError("missing")


def misshapen(x):
    return paddle.reshape(x, [3, 5, 6, 6])


def saved(model, folder):
    QAT().save_quantized_model(model, f"{folder}/model", [paddle.static.InputSpec([None, *SHAPE])])


CALLS = {
    "calibration": lambda net, folder: quant.calibrate(QAT().quantize(net), [paddle.to_tensor(X)]),
    "folding": lambda net, folder: QAT({"fuse_conv_bn": True}).quantize(net),
    "folding on given inputs": lambda net, folder: PTQ().quantize(net, fuse=True, inputs=[[1, *SHAPE]]),
    "placement": lambda net, folder: quant.prepare(net, QuantOptions(placement="deploy"), inputs=[[1, *SHAPE]]),
    "flops": lambda net, folder: dygraph_flops(net, [1, *SHAPE]),
    "export": lambda net, folder: export(net, folder / "out", image_shape=SHAPE),
    "reference": lambda net, folder: verify.reference(net, X),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("compute", "why"), [(raising, "KeyError: 'missing'"), (misshapen, "Error: .*capacity of")])
def test_the_layer_that_fails_is_named_with_its_reason(tmp_path, call, compute, why):
    with pytest.raises(UserError, match=why) as caught:
        CALLS[call](network(compute), tmp_path)
    assert "odd.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_layer_that_cannot_be_traced_is_named(tmp_path):
    model = QAT().quantize(network(lambda x: x + untraceable(x)))
    quant.calibrate(model, [paddle.to_tensor(X)])
    model.eval()
    with pytest.raises(UserError, match=r"saving the network as a program: odd\.0 \(Inner\) fails: .*only in dynamic"):
        saved(model, tmp_path)


@paddle.jit.not_to_static
def untraceable(x):
    if not paddle.in_dynamic_mode():
        raise RuntimeError("only in dynamic mode")
    return 0.0


def test_the_layer_that_is_random_is_named(tmp_path):
    net = network(lambda x: x + 0.1 * paddle.randn(x.shape))
    with pytest.raises(UserError, match=r"odd\.0 \(Inner\) gives other numbers each time, .*no export can be compared"):
        verify.reference(net, X)
    with pytest.raises(UserError, match=r"folding batch norms cannot be checked: odd\.0 \(Inner\) gives other numbers"):
        quant.fold_batch_norms(net, [[2, *SHAPE]])
    assert isinstance(net.stem[1], nn.BatchNorm2D)


def test_the_layer_with_the_first_infinity_is_named():
    with pytest.raises(UserError, match=r"not finite on images; first layer with such values: odd\.0 \(its output\)"):
        verify.reference(network(lambda x: x / (x * 0)), X)


class Twice(nn.Layer):
    """One convolution's output is normalized and used as it is, another's is only normalized."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)
        self.second, self.other = nn.Conv2D(4, 4, 3), nn.BatchNorm2D(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.first(x)
        x = x + self.norm(x)
        return self.fc(self.other(self.second(x)).mean([2, 3]))


def test_what_cannot_be_folded_is_named_and_the_rest_is_folded():
    net = Twice()
    net.norm.bias.set_value(np.ones(4, "float32"))
    net.eval()
    expected = net(paddle.to_tensor(X)).numpy()
    with pytest.warns(UserWarning, match="norm is not folded into first: the network uses what first gives in another"):
        pairs = quant.fold_batch_norms(net, [[2, *SHAPE]])
    assert pairs == [("second", "other")]
    assert isinstance(net.norm, nn.BatchNorm2D)
    assert isinstance(net.other, nn.Identity)
    np.testing.assert_allclose(net(paddle.to_tensor(X)).numpy(), expected, atol=1e-5)


def test_the_innermost_layer_is_told_and_no_hook_stays():
    net, seen = network(lambda x: seen.append(where()) or x), []
    with position(net) as where:
        assert where() == "Net"
        net(paddle.to_tensor(X))
        assert where() == "Net"
    assert seen == ["odd.0 (Inner)"]
    with (
        pytest.raises(UserError, match=r"^trying: odd\.0 \(Inner\) fails: KeyError: 'missing'$"),
        failures_told(broken := network(raising), "trying"),
    ):
        broken(paddle.to_tensor(X))
    for model in (net, broken):
        assert not any(layer._forward_pre_hooks or layer._forward_post_hooks for layer in model.sublayers())


def test_a_network_that_is_random_outside_of_its_layers_is_named_itself():
    net = network(lambda x: x)
    assert first_unsteady(net, lambda: net(paddle.to_tensor(X))) is None
    assert first_unsteady(net, lambda: net(paddle.to_tensor(X)) * paddle.rand([1])) == "Net"

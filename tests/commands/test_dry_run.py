import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.commands.dry_run import _make_comparable, _put_back
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.engine.samples import Samples

IMAGES = Samples(np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32), None, "images")


def network(scale):
    paddle.seed(0)
    parts = []
    for channels in (3, 4, 4):
        conv = nn.Conv2D(channels, 4, 1, bias_attr=False)
        conv.weight.set_value(conv.weight * scale)
        parts += [conv, nn.BatchNorm2D(4)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(144, 2))


def test_random_weights_that_overflow_get_statistics_of_the_images():
    overflowing = network(1e15)
    with np.errstate(all="ignore"):
        assert not np.isfinite(logits_of(overflowing, IMAGES.images)).all()
        _make_comparable(overflowing, IMAGES)
    assert np.isfinite(logits_of(overflowing, IMAGES.images)).all()


class Sine(nn.Layer):
    def forward(self, values):
        return paddle.sin(values)


def moved(net):
    return np.abs(logits_of(net, IMAGES.images + 1e-5) - logits_of(net, IMAGES.images)).max()


def test_random_weights_that_amplify_what_is_rounded_get_them_too():
    net = network(1e3)
    amplifying = nn.Sequential(*net[:6], Sine(), *net[6:])
    assert moved(amplifying) > 0.1
    _make_comparable(amplifying, IMAGES)
    assert moved(amplifying) < 1e-3


@pytest.mark.parametrize("scale", [1.0, 1e3], ids=["small", "large"])
def test_others_stay_as_they_are(scale):
    steady = network(scale)
    before = {name: value.numpy() for name, value in steady.state_dict().items()}
    _make_comparable(steady, IMAGES)
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in steady.state_dict().items())


def test_steps_of_training_are_undone():
    net = network(1.0)
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    optimizer = paddle.optimizer.Momentum(0.1, parameters=net.parameters())
    net.train()
    with _put_back(net):
        net(paddle.to_tensor(IMAGES.images)).mean().backward()
        optimizer.step()
        changed = [name for name, value in net.state_dict().items() if not np.array_equal(value.numpy(), before[name])]
    assert "0.weight" in changed
    assert "1._mean" in changed
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in net.state_dict().items())

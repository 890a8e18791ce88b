"""Networks hold other things than layers, some of which Python cannot copy."""

import threading

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import PTQ, FPGMFilterPruner
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.prune.cut.verify import outputs_in_double


class Settings(dict):
    """A dictionary whose keys are attributes, as found in many repositories; `copy.deepcopy` fails on it."""

    def __getattr__(self, name):
        return self[name]


class Holder(nn.Layer):
    def __init__(self, held):
        super().__init__()
        self.conv, self.fc = nn.Conv2D(3, 8, 3), nn.Linear(8, 4)
        self.held, self.inner = held, [self.conv, held, {"deeper": (self.fc, held)}]
        self.seen = None

    def forward(self, x):
        self.seen = self.inner[0](x)
        return self.inner[2]["deeper"][0](self.seen.mean([2, 3]))


HELD = {"settings": lambda: Settings(width=8), "module": lambda: np, "lock": threading.Lock}


@pytest.mark.parametrize("name", HELD)
def test_a_copy_has_layers_of_its_own_and_shares_what_cannot_be_copied(name):
    net = Holder(HELD[name]())
    net(paddle.randn([1, 3, 8, 8]))  # leaves a tensor behind that is no leaf of the gradients' graph
    other = copied(net)
    assert other.held is net.held
    assert other.inner[0] is other.conv is not net.conv
    assert other.inner[2]["deeper"][0] is other.fc is not net.fc
    x = paddle.randn([1, 3, 8, 8])
    np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())
    other.conv.weight.set_value(other.conv.weight * 2)
    assert not np.array_equal(other.conv.weight.numpy(), net.conv.weight.numpy())


def test_a_network_that_holds_such_a_thing_is_pruned_verified_and_quantized():
    net = Holder(Settings(width=8))
    x = paddle.randn([2, 3, 8, 8])
    net(x)
    np.testing.assert_allclose(outputs_in_double(net, [x])[0], net(x).numpy(), rtol=1e-4, atol=1e-5)
    FPGMFilterPruner(net, [1, 3, 8, 8]).prune_vars({"conv.weight": 0.5}, 0)
    quantized = PTQ().quantize(net)
    quantized.eval()
    quantized(x)
    assert quantized(x).shape == [2, 4]

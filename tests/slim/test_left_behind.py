"""Networks that keep a tensor of the last forward pass: `self.features = x`."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_compress.slim import QAT, FPGMFilterPruner
from ppcls_compress.slim.tracing import save_program

SPEC = [paddle.static.InputSpec([None, 3, 12, 12], "float32")]


class Keeps(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.last, self.fc = nn.Conv2D(3, 8, 3), nn.Conv2D(8, 8, 3), nn.Linear(8, 4)
        self.seen = None

    def forward(self, x):
        self.seen = F.relu(self.conv(x))
        return self.fc(self.last(self.seen).mean([2, 3]))

    def shown(self):
        return self.seen.numpy()


class Remembers(Keeps):
    """Adds what it saw last, which is the network's state and no left-over."""

    def __init__(self):
        super().__init__()
        self.register_buffer("memory", paddle.ones([1, 8, 1, 1]), persistable=False)

    def forward(self, x):
        x = F.relu(self.conv(x)) + self.memory
        self.memory = self.memory * 1
        return self.fc(self.last(x).mean([2, 3]))


def written(net, tmp_path):
    save_program(net, str(tmp_path / "net"), SPEC)
    return paddle.jit.load(str(tmp_path / "net"))


@pytest.mark.parametrize("kind", [Keeps, Remembers])
def test_a_network_is_saved_as_it_computes_after_a_forward_pass(kind, tmp_path):
    net = kind()
    net(paddle.randn([2, 3, 12, 12]))
    net.eval()
    saved = written(net, tmp_path)
    for batch in (1, 2, 5):
        x = paddle.randn([batch, 3, 12, 12])
        np.testing.assert_allclose(saved(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)


def test_what_was_left_is_still_there_afterwards(tmp_path):
    net = Keeps()
    net(paddle.randn([2, 3, 12, 12]))
    before = net.shown()
    net.eval()
    written(net, tmp_path)
    np.testing.assert_array_equal(net.shown(), before)
    assert "seen" not in net.state_dict()


def test_such_a_network_is_pruned_and_quantized(tmp_path):
    net = Keeps()
    x = paddle.randn([2, 3, 12, 12])
    net(x)
    FPGMFilterPruner(net, [1, 3, 12, 12]).prune_vars({"conv.weight": 0.5}, 0)
    assert net.conv.weight.shape[0] == 4
    net(x)
    assert net.shown().shape == (2, 4, 10, 10)
    quantizer = QAT({"activation_preprocess_type": "PACT"})
    quantizer.quantize(net)
    net.train()
    net(x).sum().backward()
    net.eval()
    quantizer.save_quantized_model(net, str(tmp_path / "quantized"), SPEC)
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "quantized"))(x).numpy(), net(x).numpy(), atol=1e-6)

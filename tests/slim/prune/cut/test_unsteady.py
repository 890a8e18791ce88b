"""Networks that cannot be traced, or compute something else each time: the layer, the line, and what helps."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, channels

from ppcls_compress.errors import UserError
from ppcls_compress.slim import FPGMFilterPruner
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

SHAPE = [[1, 3, 8, 8]]


class Inner(nn.Layer):
    """Does what it is told."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def forward(self, x):
        return self.work(x)


def halved_if_large(x):
    if x.max() > 1:
        return x / 2
    return x


LOOSE = paddle.ones([1, 16, 1, 1])


@pytest.mark.parametrize(
    ("work", "helps"),
    [
        (halved_if_large, "decides by the values of a tensor.*choose by paddle.where"),
        (lambda x: x * float(x.mean()), "decides by the values of a tensor"),
        (lambda x: paddle.to_tensor(np.tanh(x.numpy())), "takes the values of a tensor out of the network"),
        (lambda x: x * LOOSE, "computes with a tensor that no layer holds: register it, self.register_buffer"),
    ],
)
@pytest.mark.parametrize("hooked", [False, True])
def test_what_cannot_be_traced_is_told_with_its_layer_and_line(work, helps, hooked):
    net = Net(lambda n, x: n.a(x), a=Inner(F.relu if hooked else work))
    if hooked:
        net.a.register_forward_post_hook(lambda layer, inputs, output: work(output))
    says = rf"forward pass fails on inputs \[\[1, 3, 8, 8\]\]: it {helps}.*\(layer 'a', .*test_unsteady.py:\d+\)"
    for attempt in (lambda: prune(net, PruneOptions(), SHAPE), lambda: FPGMFilterPruner(net, SHAPE)):
        with pytest.raises(UserError, match=says):
            attempt()


@pytest.mark.parametrize(
    ("work", "drawn"),
    [
        (lambda x: x + paddle.randn([1, 1, 8, 8]), "gaussian"),
        (lambda x: x * paddle.rand([1]), "uniform"),
        (lambda x: F.dropout(x, 0.5), "dropout"),
    ],
)
def test_noise_in_evaluation_is_told_and_can_be_pruned_unverified(work, drawn):
    def middle(net, x):
        return net.a(x)

    says = rf"it draws random numbers by {drawn} \(layer 'a', .*test_unsteady.py:\d+\); do that in training only"
    with pytest.raises(UserError, match=says):
        prune(Net(middle, a=Inner(work)), PruneOptions(), SHAPE)
    net, _ = prune(Net(middle, a=Inner(work)), PruneOptions(verify=False), SHAPE)
    assert channels(net, "stem") == 11


def test_a_hook_that_counts_calls_is_told():
    net = Net(lambda n, x: x * n.stem.weight.shape[0] if x.shape[1] > 16 else x)
    calls = []

    def louder(layer, inputs, output):
        calls.append(1)
        return output * len(calls)

    net.stem.register_forward_post_hook(louder)
    with pytest.raises(UserError, match=r"another one each time it runs: scale in layer 'stem': .* a hook for example"):
        prune(net, PruneOptions(), SHAPE)
    assert channels(net, "stem") == 16


def test_hooks_that_compute_the_same_each_time_are_pruned_along():
    net = Net(lambda n, x: x)
    net.stem.register_forward_post_hook(lambda layer, inputs, output: output * 2)
    net.last.register_forward_pre_hook(lambda layer, inputs: (inputs[0][:, : layer._in_channels] + 1,))
    prune(net, PruneOptions(), SHAPE)
    assert (channels(net, "stem"), net.last.weight.shape[1]) == (11, 11)


def test_a_weight_that_a_hook_computes_is_told():
    net = Net(lambda n, x: n.a(x), a=nn.utils.weight_norm(nn.Conv2D(16, 16, 1)))
    _, record = prune(net, PruneOptions(), SHAPE)
    reasons = {pin["layer"]: pin["reason"] for pin in record["pinned"]}
    assert "computed anew at each call, as by weight_norm" in reasons["a"]

import warnings

import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

SHAPE = [[1, 3, 8, 8]]


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.PReLU(8)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class Small(nn.Layer):
    def __init__(self):
        super().__init__()
        self.block, self.next, self.fc = Block(), nn.Conv2D(8, 8, 1), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(F.relu(self.next(self.block(x))).mean([2, 3]))


@pytest.mark.parametrize("rule", ["block.norm", "BatchNorm2D", "block.act", "PReLU", "*.norm", "block", "block.*"])
def test_a_rule_for_any_layer_that_gives_channels_holds_them(rule):
    net, record = prune(Small(), PruneOptions(pruned_ratio=0.5, skip=(rule,)), SHAPE)
    assert (net.block.conv.weight.shape[0], net.next.weight.shape[0]) == (8, 4)
    assert {"layer": "block.conv", "op": "skip", "reason": f"skip: {rule}"} in record["pinned"]


def test_a_rule_for_a_layer_that_reads_channels_holds_only_its_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, _ = prune(Small(), PruneOptions(pruned_ratio=0.5, skip=("next",)), SHAPE)
        assert (net.block.conv.weight.shape[0], net.next.weight.shape[0]) == (4, 8)
        net, _ = prune(Small(), PruneOptions(pruned_ratio=0.5, skip=("Linear",)), SHAPE)
        assert (net.block.conv.weight.shape[0], net.next.weight.shape[0]) == (4, 4)


def test_a_rule_for_the_whole_network_holds_everything():
    with pytest.raises(UserError, match="no layer of this network can be pruned; skip: skip: Small"):
        prune(Small(), PruneOptions(skip=("Small",)), SHAPE)


def test_a_rule_that_can_hold_nothing_is_refused():
    net = nn.Sequential(nn.Conv2D(3, 8, 1), nn.ReLU(), nn.Conv2D(8, 2, 1))
    with pytest.raises(UserError, match="skip: 'ReLU' holds nothing: '1' has no channels of its own; name one with"):
        prune(net, PruneOptions(skip=("0", "ReLU")), SHAPE)

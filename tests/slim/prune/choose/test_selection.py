import warnings

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import check_exact

from ppcls_compress import models
from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune
from ppcls_compress.slim.prune.trace.norms import norms_behind
from ppcls_compress.slim.prune.trace.trace import trace

SHAPE = [[1, 3, 8, 8]]


class Sum(nn.Layer):
    """c1, b1 and c2, b2 added up: their eight channels go together."""

    def __init__(self, norms=(True, True), width=8):
        super().__init__()
        self.c1, self.c2 = nn.Conv2D(3, width, 3), nn.Conv2D(3, width, 3)
        self.b1, self.b2 = (nn.BatchNorm2D(width) if norm else nn.ReLU() for norm in norms)
        self.last = nn.Conv2D(width, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.b1(self.c1(x)) + self.b2(self.c2(x))))


def scales(net, **values):
    for name, value in values.items():
        getattr(net, name).weight.set_value(np.asarray(value, dtype="float32"))
    return net


def kept(net, options):
    _, record = prune(net, options, SHAPE)
    return record["kept"]["c1.weight"]["0"]


def test_bn_scale_takes_each_layers_own_batch_norm():
    """b1 rises by a seventh of its mean from channel to channel and b2 falls by a tenth: added up, the sum rises."""
    up, down = np.arange(8), 100 - 10 * np.arange(8)
    assert kept(scales(Sum(), b1=up, b2=100 + up), PruneOptions(name="bn_scale", pruned_ratio=0.5)) == [4, 5, 6, 7]
    assert kept(scales(Sum(), b1=up, b2=down), PruneOptions(name="bn_scale", pruned_ratio=0.5)) == [4, 5, 6, 7]
    assert kept(scales(Sum(), b1=10 + up, b2=down), PruneOptions(name="bn_scale", pruned_ratio=0.5)) == [0, 1, 2, 3]


def test_bn_scale_leaves_coupled_layers_without_a_batch_norm_out():
    down = 8 - np.arange(8)
    for scope in ("group", "layer"):
        options = PruneOptions(name="bn_scale", pruned_ratio=0.5, scope=scope)
        assert kept(scales(Sum((False, True)), b2=down), options) == [0, 1, 2, 3]


def test_bn_scale_keeps_layers_whole_that_no_batch_norm_follows():
    net = nn.Sequential(nn.Conv2D(3, 8, 1), nn.BatchNorm2D(8), nn.Conv2D(8, 8, 1), nn.ReLU(), nn.Conv2D(8, 2, 1))
    net, record = prune(net, PruneOptions(name="bn_scale", pruned_ratio=0.5), SHAPE)
    assert (net[0].weight.shape[0], net[2].weight.shape[0]) == (4, 8)
    assert {"layer": "2", "op": "bn_scale", "reason": "no batch normalization with a scale follows"} in record["pinned"]
    bare = nn.Sequential(nn.Conv2D(3, 8, 1), nn.ReLU(), nn.Conv2D(8, 2, 1))
    with pytest.raises(UserError, match="no layer of this network can be pruned; .*bn_scale: no batch normalization"):
        prune(bare, PruneOptions(name="bn_scale"), SHAPE)


def test_bn_scale_prunes_a_network_with_gates():
    def build():
        return models.build("MobileNetV3_small_x0_35", class_num=4)

    _, record = check_exact(build, [[1, 3, 32, 32]], PruneOptions(name="bn_scale"))
    whole = {pin["layer"] for pin in record["pinned"] if pin["op"] == "bn_scale"}
    assert "blocks.0.mid_se.conv1" in whole
    assert "blocks.0.expand_conv.conv" not in whole
    assert record["after"]["params"] < 0.8 * record["before"]["params"]


class Around(nn.Layer):
    """A bias, an activation and a pooling between convolution and norm; a concatenation; a norm after a sum."""

    def __init__(self):
        super().__init__()
        self.a, self.near = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)
        self.b, self.c, self.both = nn.Conv2D(4, 3, 1), nn.Conv2D(4, 3, 1), nn.BatchNorm2D(6)
        self.d, self.e, self.sum = nn.Conv2D(6, 4, 1), nn.Conv2D(6, 4, 1), nn.BatchNorm2D(4)
        self.fc, self.flat, self.out = nn.Linear(4, 5), nn.BatchNorm1D(5), nn.Linear(5, 2)

    def forward(self, x):
        x = self.near(F.max_pool2d(F.relu(self.a(x)), 2))
        x = self.both(paddle.concat([self.b(x), self.c(x)], axis=1))
        x = self.sum(self.d(x) + self.e(x))
        return self.out(self.flat(self.fc(x.mean([2, 3]))))


def test_the_norm_behind_a_sum_or_a_concatenation_belongs_to_no_layer():
    assert norms_behind(trace(Around(), SHAPE)) == {"a.weight": "near.weight", "fc.weight": "flat.weight"}


def test_globs_that_contradict_each_other_within_coupled_layers_are_refused():
    with pytest.raises(
        UserError, match="pruned_ratio: 'c1' says 0.25 and 'c2' says 0.75, but c1 and c2 lose the same channels"
    ):
        prune(Sum(), PruneOptions(pruned_ratio={"c1": 0.25, "c2": 0.75}), SHAPE)
    assert kept_count(PruneOptions(pruned_ratio={"c1": 0.5, "c2": 0.5})) == 4
    assert kept_count(PruneOptions(pruned_ratio={"c2": 0.5})) == 4


def test_a_layer_with_channels_of_its_own_beside_shared_ones_may_have_another_ratio():
    # The shortcut pads 16 channels to 32: half of the second block's output is the first one's, half its own.
    net, record = prune(
        models.build("CIFARResNet8"), PruneOptions(pruned_ratio={"stem.conv": 0.25, "blocks.1.conv1.conv": 0.75}), SHAPE
    )
    assert net.stem.conv.weight.shape[0] == 12
    assert len(record["kept"]["blocks.1.conv1.conv.weight"]["0"]) == 12 + 4


def test_a_glob_for_the_rest_gives_way_and_one_that_never_counts_is_refused():
    assert kept_count(PruneOptions(pruned_ratio={"c2": 0.75, "*": 0.25})) == 2
    with pytest.raises(UserError, match=r"pruned_ratio: 'c2' has no effect behind '\*'; put it before that"):
        prune(Sum(), PruneOptions(pruned_ratio={"*": 0.25, "c2": 0.75}), SHAPE)


def kept_count(options):
    net, _ = prune(Sum(), options, SHAPE)
    return net.c2.weight.shape[0]


def test_a_ratio_per_glob_that_rounds_to_nothing_is_told():
    net = nn.Sequential(nn.Conv2D(3, 8, 1), nn.ReLU(), nn.Conv2D(8, 8, 1), nn.ReLU(), nn.Conv2D(8, 2, 1))
    with pytest.warns(UserWarning, match=r"pruned_ratio\['2'\]: pruned 0% of the channels where 5% was asked"):
        _, record = prune(net, PruneOptions(pruned_ratio={"0": 0.5, "2": 0.05}), SHAPE)
    assert len(record["warnings"]) == 1


def test_what_a_layer_at_its_floor_keeps_others_lose():
    paddle.seed(3)
    net = nn.Sequential(nn.Conv2D(3, 20, 1), nn.ReLU(), nn.Conv2D(20, 20, 1), nn.ReLU(), nn.Conv2D(20, 2, 1))
    first, second = (net[index].weight.numpy() for index in (0, 2))
    first[:] = 1.0  # every unit scores 1, so that those of the other layer, but for one, come before it
    second[1:] = second[1:] / np.abs(second[1:]).sum((1, 2, 3), keepdims=True)
    second[0] = 50 * np.abs(second[0]) / np.abs(second[0]).sum()
    net[0].weight.set_value(first)
    net[2].weight.set_value(second)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net, _ = prune(net, PruneOptions(name="l1_norm", pruned_ratio=0.6, global_=True), SHAPE)
    widths = net[0].weight.shape[0], net[2].weight.shape[0]
    assert widths == (14, 2)
    assert sum(widths) == 40 - 24

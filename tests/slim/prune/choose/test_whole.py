"""Every convolution and matrix product that keeps its channels is listed, with the reason."""

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from paddle.vision.ops import DeformConv2D
from support.pruning import Net, channels, check_exact

from ppcls_compress.slim.options.prune import PruneOptions

SHAPE = [[1, 3, 16, 16]]


def standardised(net, x):
    weight = net.w - net.w.mean([1, 2, 3], keepdim=True)
    return F.conv2d(x, weight, padding=1)


def dynamic(net, x):
    share = F.softmax(net.gate(x.mean([2, 3])), -1)
    return F.conv2d(x, (share.reshape([4, 1, 1, 1, 1]) * net.w).sum(0), padding=1)


def upsampling(outputs, groups):
    def build():
        up = nn.Conv2DTranspose(16, outputs, 4, stride=2, padding=1, groups=groups)
        return Net(lambda n, x: n.up(x), out=outputs, up=up)

    return build


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize("outputs", [16, 32])
def test_transposed_convolutions_with_groups_are_pruned(groups, outputs):
    net, record = check_exact(upsampling(outputs, groups), SHAPE, PruneOptions(pruned_ratio=0.5))
    assert record["pinned"] == []
    assert (channels(net, "stem"), net.up.weight.shape[0], net.last.weight.shape[1]) == (8, 8, outputs // 2)
    assert net.up._out_channels == outputs // 2


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_transposed_convolutions_are_pruned(multiplier):
    net, record = check_exact(upsampling(16 * multiplier, 16), SHAPE)
    assert record["pinned"] == []
    assert (channels(net, "stem"), net.up._groups, net.last.weight.shape[1]) == (11, 11, 11 * multiplier)


@pytest.mark.parametrize(
    ("middle", "layers", "layer", "says"),
    [
        (lambda n, x: n.d(x, n.offset(x)), {"offset": (18, 3)}, "d", "the operator is not in the pruner's table"),
        (standardised, {"w": [16, 16, 3, 3]}, "w", "its weight is computed"),
        (dynamic, {"w": [4, 16, 16, 3, 3], "gate": None}, "conv2d", "its weight is computed"),
    ],
    ids=["deformable", "standardised", "dynamic"],
)
def test_layers_without_filters_of_their_own_are_listed(middle, layers, layer, says):
    def build():
        net = Net(middle)
        if "offset" in layers:
            net.offset, net.d = nn.Conv2D(16, 18, 3, padding=1), DeformConv2D(16, 16, 3, padding=1)
        else:
            net.w = net.create_parameter(layers["w"])
        if "gate" in layers:
            net.gate = nn.Linear(16, 4)
        return net

    _, record = check_exact(build, SHAPE)
    pins = {pin["layer"]: pin["reason"] for pin in record["pinned"]}
    assert says in pins[layer]


def test_a_naked_weight_of_a_product_is_listed_by_its_name():
    def build():
        net = Net(lambda n, x: paddle.einsum("bchw,cd->bdhw", x, n.w))
        net.w = net.create_parameter([16, 16])
        return net

    _, record = check_exact(build, SHAPE, PruneOptions(prune_type="all"))
    assert {"layer": "w", "op": "einsum", "reason": "the operator is not in the pruner's table"} in record["pinned"]

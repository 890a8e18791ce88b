"""Every convolution and matrix product that keeps its channels is listed, with the reason."""

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from paddle.vision.ops import DeformConv2D
from support.pruning import Net, channels, check_exact

from ppcls_compress.errors import UserError
from ppcls_compress.slim import L1NormFilterPruner
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

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


def mlp(net, x):
    """As transformers for images have it: linear layers around a depthwise convolution."""
    y = net.up(x.flatten(2).transpose([0, 2, 1])).transpose([0, 2, 1]).reshape([0, -1, 16, 16])
    y = F.gelu(net.between(y)).flatten(2).transpose([0, 2, 1])
    return net.down(y).transpose([0, 2, 1]).reshape(x.shape)


def test_a_convolution_decides_among_linear_layers_that_lose_the_same_channels():
    def build():
        depthwise = nn.Conv2D(24, 24, 3, padding=1, groups=24)
        return Net(mlp, up=nn.Linear(16, 24), between=depthwise, down=nn.Linear(24, 16))

    net = build()
    pruner = L1NormFilterPruner(net, SHAPE[0])
    assert "between" in {name.rpartition(".")[0] for name, p in net.named_parameters() if p.name in
                         {c.master_name for c in pruner.collections}}  # fmt: skip
    pruner.prune_vars({"between.weight": 0.5}, 0, verify=True)
    assert (net.up.weight.shape[1], net.between._groups, net.down.weight.shape[0]) == (12, 12, 12)
    net, _ = check_exact(build, SHAPE, PruneOptions(pruned_ratio={"between": 0.5}, scope="layer"))
    assert net.between.weight.shape[0] == 12


class Transformer(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.up = nn.Conv2D(3, 8, 4, stride=4), nn.LayerNorm(8), nn.Linear(8, 32)
        self.down, self.head = nn.Linear(32, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose([0, 2, 1])
        return self.head((x + self.down(F.gelu(self.up(self.norm(x))))).mean(1))


def test_a_network_that_only_other_layers_can_shrink_is_told_which():
    says = r"no layer of this network can be pruned; layer_norm: .*; prune_type: all takes linear layers too, fc takes "
    with pytest.raises(UserError, match=says + "only them: 1 can be pruned"):
        prune(Transformer(), PruneOptions(prune_type="conv"), SHAPE)
    _, record = prune(Transformer(), PruneOptions(prune_type="all"), SHAPE)
    assert list(record["kept"]) == ["up.weight", "up.bias", "down.weight"]


def test_of_a_transformer_the_hidden_units_go_unless_convolutions_are_asked_for():
    _, record = prune(Transformer(), PruneOptions(), SHAPE)
    assert list(record["kept"]) == ["up.weight", "up.bias", "down.weight"]
    assert {pin["layer"] for pin in record["pinned"]} == {"stem", "down", "head"}
    assert record["options"]["prune_type"] == "auto"


class Micro(nn.Layer):
    """Channels in groups, picked by an index and shuffled, as MicroNet has them."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(4, 8, 3, padding=1, groups=4)
        self.groups, self.exp, self.oup = 4, 4, 8
        self.register_buffer("index", paddle.to_tensor([1, 0, 3, 2, 5, 4, 7, 6]))
        self.gate, self.last, self.fc = nn.Linear(8, 32), nn.Conv2D(8, 6, 1, groups=2), nn.Linear(6, 2)

    def forward(self, x):
        x = self.wide(F.relu(self.stem(x)))
        b, c, h, w = x.shape
        y = F.hardsigmoid(self.gate(x.mean([2, 3]))).reshape([b, self.oup * self.exp, 1, 1])
        a1, b1, a2, b2 = paddle.split(y, 4, axis=1)
        other = paddle.index_select(x, self.index, axis=1)
        x = paddle.maximum(x * a1 + other * b1, x * a2 + other * b2)
        x = x.reshape([b, self.groups, c // self.groups, h, w]).transpose([0, 2, 1, 3, 4]).reshape([b, c, h, w])
        return self.fc(self.last(x).mean([2, 3]))


def test_channels_that_are_picked_shuffled_and_grouped_go_by_groups():
    net, _ = check_exact(Micro, SHAPE, PruneOptions(pruned_ratio=0.5))
    assert (net.stem.weight.shape[0], net.wide._groups, net.groups, net.oup, net.exp) == (2, 2, 2, 4, 4)
    assert net.index.tolist() == [1, 0, 3, 2]
    pruner = L1NormFilterPruner(Micro(), SHAPE[0])
    pruner.prune_vars({"stem.weight": 0.5}, 0, verify=True)
    assert pruner.model.stem.weight.shape[0] == 2


def test_a_layer_whose_weight_is_anothers_too_is_reached():
    net = Net(lambda n, x: n.b(F.relu(n.a(x))), out=16, a=nn.Conv2D(16, 16, 3), b=nn.Conv2D(16, 16, 3))
    net.b.weight = net.a.weight
    _, record = prune(net, PruneOptions(pruned_ratio=0.5), SHAPE)
    assert record["pinned"] == []
    assert net.b.weight is net.a.weight
    assert net.b.bias.shape == [8]

"""Every kind of operator: the channels behind it are removed, and the result is exact."""

import json

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, check_exact, error, masked_outputs, outputs, random_inputs

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import apply_record, prune

SHAPE = [[1, 3, 16, 16]]


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape([n, groups, c // groups, h, w]).transpose([0, 2, 1, 3, 4]).reshape([n, c, h, w])


def assigned(net, x):
    y = x.clone()
    y[:, : x.shape[1] // 2] = net.a(x)
    return y


# name -> (middle, channels that reach the last convolution, extra layers); the stem must lose channels in all of them.
CASES = {
    "residual": (lambda n, x: x + n.a(x), 16, {"a": lambda: nn.Conv2D(16, 16, 3, padding=1)}),
    "projection": (
        lambda n, x: n.b(x) + n.a(x),
        12,
        {"a": lambda: nn.Conv2D(16, 12, 1), "b": lambda: nn.Conv2D(16, 12, 1)},
    ),
    "depthwise": (lambda n, x: n.a(x), 16, {"a": lambda: nn.Conv2D(16, 16, 3, padding=1, groups=16)}),
    "depthwise with a multiplier": (lambda n, x: n.a(x), 32, {"a": lambda: nn.Conv2D(16, 32, 3, padding=1, groups=16)}),
    "many groups": (lambda n, x: n.a(x), 16, {"a": lambda: nn.Conv2D(16, 16, 3, padding=1, groups=8)}),
    "few groups": (lambda n, x: n.a(x), 16, {"a": lambda: nn.Conv2D(16, 16, 3, padding=1, groups=2)}),
    "gate": (
        lambda n, x: x * F.sigmoid(n.b(F.relu(n.a(x.mean([2, 3], keepdim=True))))),
        16,
        {"a": lambda: nn.Conv2D(16, 8, 1), "b": lambda: nn.Conv2D(8, 16, 1)},
    ),
    "gate of linear layers": (
        lambda n, x: x * F.sigmoid(n.a(x.mean([2, 3]))).unsqueeze([2, 3]),
        16,
        {"a": lambda: nn.Linear(16, 16)},
    ),
    "concat": (lambda n, x: paddle.concat([x, n.a(x), x], axis=1), 42, {"a": lambda: nn.Conv2D(16, 10, 1)}),
    "chunk": (lambda n, x: n.a(paddle.chunk(x, 2, axis=1)[1]), 8, {"a": lambda: nn.Conv2D(8, 8, 1)}),
    "split by halves": (lambda n, x: sum(paddle.split(x, [x.shape[1] // 2] * 2, axis=1)), 8, {}),
    "slices by halves": (lambda n, x: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :], 8, {}),
    "channel shuffle": (lambda n, x: shuffle(n.a(x), 2), 16, {"a": lambda: nn.Conv2D(16, 16, 1)}),
    "shuffle operator": (lambda n, x: F.channel_shuffle(x, 4), 16, {}),
    "pixel shuffle": (lambda n, x: F.pixel_shuffle(x, 2), 4, {}),
    "transposed convolution": (lambda n, x: n.a(x), 12, {"a": lambda: nn.Conv2DTranspose(16, 12, 2, stride=2)}),
    "unfold": (
        lambda n, x: F.unfold(x, 3, paddings=1).reshape([x.shape[0], x.shape[1] * 9, *x.shape[2:]]),
        144,
        {},
    ),
    "assignment to a slice": (assigned, 16, {"a": lambda: nn.Conv2D(16, 8, 1)}),
    "interpolation": (lambda n, x: F.interpolate(x, scale_factor=2, mode="bilinear"), 16, {}),
    "spatial padding": (lambda n, x: F.pad(x, [1, 1, 1, 1], mode="reflect"), 16, {}),
    "prelu": (lambda n, x: n.a(x - 0.5), 16, {"a": lambda: nn.PReLU(16)}),
    "instance norm": (lambda n, x: n.a(x), 16, {"a": lambda: nn.InstanceNorm2D(16)}),
    "group norm": (lambda n, x: n.a(x), 16, {"a": lambda: nn.GroupNorm(8, 16)}),
    "naked parameter": (lambda n, x: x * n.a, 16, {"a": lambda: paddle.create_parameter([1, 16, 1, 1], "float32")}),
    "f(0) is not 0": (lambda n, x: F.sigmoid(n.a(F.hardsigmoid(x) + 1)), 16, {"a": lambda: nn.Conv2D(16, 16, 1)}),
    "stack and sum": (lambda n, x: paddle.stack([x, n.a(x)], 1).sum(1), 16, {"a": lambda: nn.Conv2D(16, 16, 1)}),
    "softmax over branches": (
        lambda n, x: (F.softmax(paddle.stack([x, n.a(x)], 1), axis=1) * 2).mean(1),
        16,
        {"a": lambda: nn.Conv2D(16, 16, 1)},
    ),
    "where and clip": (
        lambda n, x: paddle.where(x > 0.5, x, n.a(x).clip(0, 1)),
        16,
        {"a": lambda: nn.Conv2D(16, 16, 1)},
    ),
    "expand": (lambda n, x: x + x.mean([2, 3], keepdim=True).expand([-1, -1, x.shape[2], x.shape[3]]), 16, {}),
    "tokens and back": (
        lambda n, x: n.a(x.flatten(2).transpose([0, 2, 1])).transpose([0, 2, 1]).reshape([1, -1, 16, 16]),
        12,
        {"a": lambda: nn.Linear(16, 12)},
    ),
    "shared layer": (lambda n, x: n.a(F.relu(n.a(x))), 16, {"a": lambda: nn.Conv2D(16, 16, 1)}),
    "parameter on the left": (
        lambda n, x: paddle.matmul(n.a, x.transpose([1, 0, 2, 3]).flatten(0, 1).flatten(1)).reshape([1, 6, 16, 16]),
        6,
        {"a": lambda: paddle.create_parameter([6, 16], "float32")},
    ),
    "transposed parameter on the left, columns of all positions": (
        lambda n, x: paddle.matmul(n.a, x.flatten(0, 2), transpose_x=True).reshape([1, 4, 1, 16]),
        4,
        {"a": lambda: paddle.create_parameter([256, 4], "float32")},
    ),
    "batch of parameters": (
        lambda n, x: paddle.matmul(n.a, x.reshape([2, x.shape[1] // 2, 256])).reshape([1, 10, 16, 16]),
        10,
        {"a": lambda: paddle.create_parameter([2, 5, 8], "float32")},
    ),
    "vector on the left": (
        lambda n, x: x * paddle.matmul(n.a, x.flatten(2)).reshape([1, 1, 16, 16]),
        16,
        {"a": lambda: paddle.create_parameter([16], "float32")},
    ),
    "parameter for each channel": (
        lambda n, x: paddle.matmul(n.a, x),
        16,
        {"a": lambda: paddle.create_parameter([1, 16, 16, 16], "float32")},
    ),
    "add_n": (lambda n, x: paddle.add_n([x, n.a(x), x]), 16, {"a": lambda: nn.Conv2D(16, 16, 1)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_channels_behind_the_operator_are_removed_exactly(case, ratio):
    middle, out, layers = CASES[case]

    def build():
        return Net(middle, out=out, **{name: make() for name, make in layers.items()})

    net, record = check_exact(build, SHAPE, PruneOptions(pruned_ratio=ratio))
    assert net.stem.weight.shape[0] < 16
    assert record["after"]["flops"] < record["before"]["flops"]
    if hasattr(getattr(net, "a", None), "weight") and case != "chunk":
        assert net.a.weight.shape != CASES[case][2]["a"]().weight.shape


PINNED = {
    "layer norm": (
        lambda n, x: n.a(x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2]),
        {"a": lambda: nn.LayerNorm(16)},
        "layer_norm",
    ),
    "softmax over channels": (lambda n, x: F.softmax(x, axis=1), {}, "softmax"),
    "channel mean": (lambda n, x: x * x.mean(1, keepdim=True), {}, "mean"),
    "one group norm": (lambda n, x: n.a(x), {"a": lambda: nn.GroupNorm(1, 16)}, "group_norm"),
    "cumsum": (lambda n, x: paddle.cumsum(x, axis=1), {}, "cumsum"),
    "operator that is not in the table": (lambda n, x: paddle.sort(x, axis=1), {}, None),
    "attention": (
        lambda n, x: (F.softmax(x.flatten(2) @ x.flatten(2).transpose([0, 2, 1]), -1) @ x.flatten(2)).reshape(x.shape),
        {},
        "matmul",
    ),
}


@pytest.mark.parametrize("case", PINNED)
def test_what_mixes_channels_keeps_them_and_is_reported(case):
    middle, layers, op = PINNED[case]
    net, record = check_exact(lambda: Net(middle, **{name: make() for name, make in layers.items()}), SHAPE)
    assert net.stem.weight.shape[0] == 16
    assert net.last.weight.shape[0] == 6
    pins = {pin["layer"]: pin for pin in record["pinned"]}
    assert set(pins) == {"stem"}
    assert pins["stem"]["reason"]
    assert op is None or pins["stem"]["op"] == op


LAST = {"data_format": "NHWC"}
NHWC = {
    "depthwise": (lambda n, x: x + n.a(x), 16, lambda: nn.Conv2D(16, 16, 3, padding=1, groups=16, **LAST)),
    "transposed": (lambda n, x: n.a(x), 12, lambda: nn.Conv2DTranspose(16, 12, 2, stride=2, **LAST)),
    "prelu": (lambda n, x: n.a(x - 0.5), 16, lambda: nn.PReLU(16, **LAST)),
    "interpolation": (
        lambda n, x: F.interpolate(n.a(x), scale_factor=2, **LAST),
        12,
        lambda: nn.Conv2D(16, 12, 1, **LAST),
    ),
    "pooling": (lambda n, x: F.max_pool2d(n.a(x), 2, **LAST), 16, lambda: nn.AvgPool2D(3, stride=1, **LAST)),
    "concatenation": (lambda n, x: paddle.concat([x, n.a(x)], axis=-1), 24, lambda: nn.Conv2D(16, 8, 1, **LAST)),
    "squeeze and excitation": (
        lambda n, x: x * F.sigmoid(n.a(x.mean([1, 2], keepdim=True))),
        16,
        lambda: nn.Conv2D(16, 16, 1, **LAST),
    ),
    "linear layer": (lambda n, x: n.a(x), 12, lambda: nn.Linear(16, 12)),
}


@pytest.mark.parametrize("case", NHWC)
def test_nhwc(case):
    middle, out, layer = NHWC[case]
    net, _ = check_exact(lambda: Net(middle, out=out, data_format="NHWC", a=layer()), [[1, 16, 16, 3]])
    assert net.stem.weight.shape[0] == 11


class TwoInputs(nn.Layer):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2D(3, 8, 1), nn.Conv2D(1, 8, 1), nn.Conv2D(8, 4, 1)
        self.d = nn.Conv2D(8, 6, 1)

    def forward(self, x, y):
        z = self.a(x) + self.b(y)
        return {"c": self.c(z), "d": [self.d(z), self.c(z).mean()]}


def test_several_inputs_and_outputs():
    net, _ = check_exact(TwoInputs, [[1, 3, 8, 8], [1, 1, 8, 8]])
    assert net.a.weight.shape[0] == net.b.weight.shape[0] == net.c.weight.shape[1] == 6
    assert (net.c.weight.shape[0], net.d.weight.shape[0]) == (4, 6)


class DictInput(nn.Layer):
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 4, 1)

    def forward(self, batch):
        return self.c(F.relu(self.a(batch["image"])))


def test_dict_input():
    net, _record = check_exact(DictInput, [{"image": [2, 3, 8, 8]}])
    assert net.a.weight.shape[0] == 6


def test_linear_layers_of_an_mlp():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.GELU(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 5))

    net, _ = check_exact(build, [[1, 3, 4, 4]], PruneOptions(prune_type="fc", pruned_ratio=0.5))
    assert [net[i].weight.shape for i in (1, 3, 5)] == [[48, 10], [10, 6], [6, 5]]


def test_conv1d():
    def build():
        return nn.Sequential(nn.Conv1D(3, 10, 3), nn.BatchNorm1D(10), nn.ReLU(), nn.Conv1D(10, 4, 1))

    net, _ = check_exact(build, [[1, 3, 16]])
    assert net[0].weight.shape == [7, 3, 3]
    assert net[0]._out_channels == net[3]._in_channels == 7


class Picking(nn.Layer):
    """Takes channels by numbers in a buffer; another call may use the same numbers."""

    def __init__(self, index):
        super().__init__()
        self.register_buffer("index", paddle.to_tensor(index))

    def forward(self, x):
        return paddle.index_select(x, self.index, axis=1)


PICKS = {
    "permutation": (list(range(15, -1, -1)), lambda n, x: n.b(n.a(x))),
    "subset": ([2, 3, 5, 7, 11, 13], lambda n, x: n.b(n.a(x))),
    "repeated and from the end": ([0, 0, -1, 4, -2, 4], lambda n, x: n.b(n.a(x))),
    "beside what is picked from": (list(range(8, 16)), lambda n, x: n.b(paddle.concat([x, n.a(x)], axis=1))),
    "swapped halves added": ([*range(8, 16), *range(8)], lambda n, x: n.b(x + n.a(x))),
    "twice": (list(range(15, -1, -1)), lambda n, x: n.b(n.a(F.sigmoid(n.a(x))))),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKS)
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_numbers_in_a_buffer_that_pick_channels_are_counted_anew(case, ratio):
    index, middle = PICKS[case]
    width = 24 if "beside" in case else len(index)

    def build():
        return Net(middle, out=12, a=Picking(index), b=nn.Conv2D(width, 12, 1))

    net, record = check_exact(build, SHAPE, PruneOptions(pruned_ratio=ratio))
    assert net.stem.weight.shape[0] < 16
    assert [change[:2] for change in record["attributes"] if change[0] == "a"] == [["a", "index"]]
    fresh = apply_record(build(), json.loads(json.dumps(record)))
    assert fresh.set_state_dict(net.state_dict()) == ([], [])
    assert fresh.a.index.tolist() == net.a.index.tolist()
    np.testing.assert_array_equal(outputs(fresh, random_inputs(SHAPE))[0], outputs(net, random_inputs(SHAPE))[0])


@pytest.mark.parametrize("value", ["many", {"a": 1}, [2**70], list(range(99)), [[1, 2]], [0, [1]]])
def test_a_record_without_numbers_for_a_buffer_is_refused(value):
    index, middle = PICKS["subset"]

    def build():
        return Net(middle, out=12, a=Picking(index), b=nn.Conv2D(len(index), 12, 1))

    _, record = prune(build(), PruneOptions(), SHAPE)
    net = build()
    with pytest.raises(UserError, match=r"the pruning record has (no )?numbers (of shape .* )?for 'a.index'"):
        apply_record(net, {**record, "attributes": [["a", "index", value]]})
    assert net.a.index.tolist() == index


def test_numbers_in_the_code_that_pick_channels_pin_them():
    net, record = check_exact(
        lambda: Net(lambda n, x: paddle.index_select(x, paddle.to_tensor(list(range(15, -1, -1))), axis=1)), SHAPE
    )
    assert net.stem.weight.shape[0] == 16
    assert [(pin["layer"], pin["op"]) for pin in record["pinned"]] == [("stem", "index_select")]


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_grouped_convolution_keeps_its_groups_or_loses_whole_ones(ratio):
    def build(groups):
        return lambda: Net(lambda n, x: n.a(x), a=nn.Conv2D(16, 16, 3, padding=1, groups=groups))

    many, _ = check_exact(build(8), SHAPE, PruneOptions(pruned_ratio=ratio))
    assert (many.a._groups, many.a.weight.shape[1]) == (8 - int(8 * ratio), 2)
    few, _ = check_exact(build(2), SHAPE, PruneOptions(pruned_ratio=ratio))
    assert (few.a._groups, few.a.weight.shape[1]) == (2, 8 - int(8 * ratio))


def test_exactness_check_of_these_tests_can_fail():
    net = Net(lambda n, x: x)
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    net, record = prune(net, PruneOptions(), SHAPE)
    dense = Net(lambda n, x: x)
    dense.set_state_dict(before)
    name = "stem.weight"
    record["kept"][name]["0"] = [(index + 1) % 16 for index in record["kept"][name]["0"]]
    inputs = random_inputs(SHAPE)
    assert error(outputs(net, inputs), masked_outputs(dense, record, inputs)) > 1e-3
    assert np.isfinite(outputs(net, inputs)[0]).all()

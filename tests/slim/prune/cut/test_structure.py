"""Sizes that a network has written down: found and updated, or kept from changing, or refused."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, channels, check_exact, randomize

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

SHAPE = [[1, 3, 16, 16]]


class Flat(nn.Layer):
    """Flattens to a number it was told."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, x):
        return x.reshape([-1, self.features])


class Cut(nn.Layer):
    """Splits by a list of numbers, or by one number and twice that."""

    def __init__(self, sizes, doubled=False):
        super().__init__()
        self.sizes = sizes
        self.doubled = doubled

    def forward(self, x):
        sections = [self.sizes, 2 * self.sizes] if self.doubled else list(self.sizes)
        return paddle.split(x, sections, axis=1)[1]


class Pad(nn.Layer):
    """Pads channels of zeros, by two numbers or by the same number on both sides."""

    def __init__(self, before, after):
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x):
        after = self.before if self.after is None else self.after
        return F.pad(x, [0, 0, self.before, after, 0, 0, 0, 0])


def changed(record, layer):
    return {name: value for path, name, value in record["attributes"] if path == layer}


@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_a_written_flatten_is_updated(ratio):
    def build():
        return nn.Sequential(nn.Conv2D(3, 16, 3), nn.AdaptiveAvgPool2D(2), Flat(64), nn.Linear(64, 5))

    net, record = check_exact(build, SHAPE, PruneOptions(pruned_ratio=ratio))
    kept = 16 - round(16 * ratio)
    assert changed(record, "2") == {"features": kept * 4}
    assert net[3].weight.shape == [kept * 4, 5]


@pytest.mark.parametrize("sizes", [[6, 10], (6, 10), [6, 6, 4]])
def test_written_sections_are_updated_in_their_own_kind_of_sequence(sizes):
    net, record = check_exact(lambda: Net(lambda n, x: n.a(x), out=sizes[1], a=Cut(sizes)), SHAPE)
    assert net.stem.weight.shape[0] < 16
    assert type(net.a.sizes) is type(sizes)
    assert sum(net.a.sizes) == net.stem.weight.shape[0]
    assert changed(record, "a") == {"sizes": list(net.a.sizes)}


@pytest.mark.parametrize("ratio", [0.2, 0.3, 0.5, 0.7])
def test_one_number_behind_two_sizes(ratio):
    net, _ = check_exact(
        lambda: Net(lambda n, x: n.a(x), width=24, out=16, a=Cut(8, doubled=True)),
        SHAPE,
        PruneOptions(pruned_ratio=ratio),
    )
    assert net.stem.weight.shape[0] == 3 * net.a.sizes < 24


@pytest.mark.parametrize(("before", "after"), [(0, 8), (3, 5), (4, None)])
@pytest.mark.parametrize("options", [PruneOptions(), PruneOptions(pruned_ratio=0.5, name="l1_norm", global_=True)])
def test_padding_with_zero_channels_shrinks_with_the_channels_it_is_added_to(before, after, options):
    def build():
        return Net(
            lambda n, x: n.b(x) + n.a(x),
            out=24,
            a=Pad(before, after),
            b=nn.Conv2D(16, 24, 3, padding=1, bias_attr=False),
        )

    net, _ = check_exact(build, SHAPE, options)
    assert net.stem.weight.shape[0] < 16
    padded = net.a.before + (net.a.before if after is None else net.a.after)
    assert net.b.weight.shape[0] == net.stem.weight.shape[0] + padded < 24


def test_siblings_of_a_layer_that_was_understood_follow():
    def build():
        blocks = [Net(lambda n, x: n.a(x), out=10, a=Cut([6, 10])) for _ in range(4)]
        for block in blocks:
            block.fc = nn.Linear(8, 3 * 256)
        return nn.Sequential(*[layer for block in blocks for layer in (block, Image())])

    class Image(nn.Layer):
        def forward(self, x):
            return x.reshape([-1, 3, 16, 16])

    _, record = check_exact(build, SHAPE)
    assert {path for path, name, _ in record["attributes"] if name == "sizes"} == {f"{i}.a" for i in (0, 2, 4, 6)}


def test_a_number_in_the_code_pins_only_what_it_counts():
    net, record = check_exact(lambda: Net(lambda n, x: x[:, :7] * n.a(x), out=7, a=nn.Conv2D(16, 7, 1)), SHAPE)
    assert (channels(net, "stem"), channels(net, "last")) == (7 + 6, 6)
    assert {pin["layer"] for pin in record["pinned"]} == {"a"}
    assert any("is written into the code" in pin["reason"] for pin in record["pinned"])


def test_a_number_over_the_whole_axis_is_harmless():
    net, _ = check_exact(lambda: Net(lambda n, x: x[:, :16]), SHAPE)
    assert net.stem.weight.shape[0] == 11


@pytest.mark.parametrize(
    "middle",
    [
        lambda n, x: n.a(x * 2 if x.shape[1] == 16 else x * 3),
        lambda n, x: n.a(F.leaky_relu(x - 1, 0.1 if x.shape[1] == 16 else 0.9)),
        lambda n, x: n.a(F.relu(x - 1) if x.shape[1] == 16 else F.sigmoid(x)),
        lambda n, x: n.a(x if x.shape[1] == 16 else F.sigmoid(x)),
        lambda n, x: n.a(x / x.shape[1]),
    ],
    ids=["constant", "attribute", "operator", "one more operator", "computed"],
)
def test_a_branch_on_the_number_of_channels_pins_only_what_is_near_it(middle):
    net, record = check_exact(lambda: Net(middle, a=nn.Conv2D(16, 16, 1)), SHAPE)
    assert [pin["layer"] for pin in record["pinned"]] == ["stem"]
    assert (channels(net, "stem"), channels(net, "last")) == (16, 6)


def test_what_cannot_be_made_exact_says_what_to_do_and_changes_nothing():
    def middle(net, x):  # no trace can see it
        return x * (3 if paddle.in_dynamic_mode() and x.shape[1] < 16 else 1)

    net = randomize(Net(middle))
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=r"not the dense one without the removed channels.*; name layers in `skip`"):
        prune(net, PruneOptions(), SHAPE)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert net.stem._out_channels == 16
    prune(net, PruneOptions(skip=("stem",)), SHAPE)
    assert (channels(net, "stem"), channels(net, "last")) == (16, 6)

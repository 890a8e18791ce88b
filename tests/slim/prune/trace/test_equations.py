"""What the numbers of a network ask of its channels; see `tests/properties/test_plans.py` too."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, channels, check_exact, randomize

from ppcls_compress.slim import L1NormFilterPruner
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.trace.channels import solve
from ppcls_compress.slim.prune.trace.trace import trace

SHAPE = [[1, 3, 8, 8]]


def net_of(middle, out=None, width=16, layers=(), **numbers):
    net = Net(middle, out=out, width=width, **dict(layers))
    for name, value in numbers.items():
        setattr(net, name, value)
    return net


def sizes(net, **options):
    """Units of each group, by its first layer."""
    found = {}
    for group in solve(trace(net, SHAPE), **options).groups:
        found.setdefault(group.name.removesuffix(".weight"), []).append(len(group))
    return found


def test_of_two_attributes_that_make_a_size_together_the_smaller_stays():
    def build():
        return net_of(lambda n, x: x.reshape([0, n.width * n.times, 8, 8]), width=16, times=2)

    build_net = build()
    build_net.width = 8
    assert sizes(build_net) == {"stem": [8], "last": [8]}

    def made():
        net = build()
        net.width = 8
        return net

    net, record = check_exact(made, SHAPE, PruneOptions(pruned_ratio=0.5))
    assert (net.width, net.times, channels(net, "stem")) == (4, 2, 8)
    assert [change for change in record["attributes"] if change[0] == ""] == [["", "width", 4]]


def test_an_attribute_that_is_a_size_and_a_constant_stays():
    def build():
        net = net_of(lambda n, x: x.reshape([0, n.width, 8, 8]) / n.width)
        net.width = 16
        return net

    net, _ = check_exact(build, SHAPE)
    assert (net.width, channels(net, "stem"), channels(net, "last")) == (16, 16, 6)


def test_an_attribute_of_which_only_a_part_counts_channels_follows():
    def build():
        return net_of(lambda n, x: x[:, : n.bounds[1] - n.bounds[0]], out=6, bounds=[4, 10])

    net, _ = check_exact(build, SHAPE, PruneOptions(pruned_ratio=0.5))
    assert net.bounds == [4, 7]
    assert net.last.weight.shape[1] == 3


@pytest.mark.parametrize(
    "assertion",
    [
        lambda n, x: x.shape[1] == n.width,
        lambda n, x: (x.shape[1] != n.width) is False,
        lambda n, x: n.width - x.shape[1] == 0,
        lambda n, x: n.norm._num_features == x.shape[1] == n.stem._out_channels,
        lambda n, x: x.shape[1] % n.stem.weight.shape[0] == 0,
    ],
)
def test_what_the_code_asserts_of_sizes_holds_afterwards(assertion):
    def middle(net, x):
        assert assertion(net, x)
        return x

    def build():
        net = net_of(middle)
        net.width = 16
        return net

    net, _ = check_exact(build, SHAPE, PruneOptions(pruned_ratio=0.3))
    assert channels(net, "stem") == 11


def projected(net, x):
    """A shortcut that is projected where the numbers of channels differ."""
    y = net.a(x)
    return y + (net.b(x) if y.shape[1] != x.shape[1] else x)


def build_projected():
    return net_of(projected, out=16, width=8, layers={"a": nn.Conv2D(8, 16, 1), "b": nn.Conv2D(8, 16, 1)})


@pytest.mark.parametrize(("ratio", "left"), [(0.25, 12), (0.5, 16), (0.75, 4)])
def test_a_plan_that_would_turn_a_comparison_keeps_what_is_compared(ratio, left):
    net = randomize(build_projected())
    names = {"a.weight": ratio}  # at a half there would be as many as x has
    pruner = L1NormFilterPruner(net, SHAPE[0])
    plans = [pruner.prune_vars(names, 0, apply=how) for how in (None, "lazy")]
    pruner.restore()
    plans.append(pruner.prune_vars(names, 0, verify=True))
    assert channels(net, "a") == left
    assert len({str({k: [m.mask.tolist() for m in v] for k, v in plan.masks.items()}) for plan in plans}) == 1
    pruner.restore()
    pruner.prune_vars({"a.weight": 0.75}, 0, verify=True)  # what one plan had to keep, another has not
    assert channels(net, "a") == 4


def test_a_number_that_no_trace_sees_is_tried():
    def middle(net, x):  # NumPy forgets where its numbers come from
        return x * 2 if int(np.asarray(x.shape[1])) < 16 else x

    net, record = check_exact(lambda: Net(middle), SHAPE)
    assert (channels(net, "stem"), channels(net, "last")) == (16, 6)
    assert [pin["layer"] for pin in record["pinned"]] == ["stem"]


def test_as_many_operators_as_there_are_channels_keep_them():
    def middle(net, x):
        for _ in range(x.shape[1] // 4):
            x = F.relu(x - 0.1)
        return x

    net, _ = check_exact(lambda: Net(middle), SHAPE)
    assert channels(net, "stem") == 16


def test_what_is_cut_out_never_runs_dry():
    def middle(net, x):
        left, right = paddle.split(x, net.sections, axis=1)
        return paddle.concat([F.sigmoid(left), F.relu(right)], 1)

    net = randomize(net_of(middle, sections=[12, 4]))
    weak = net.stem.weight.numpy()
    weak[12:] *= 1e-3
    net.stem.weight.set_value(weak)
    L1NormFilterPruner(net, SHAPE[0]).prune_vars({"stem.weight": 0.9}, 0, verify=True)
    assert net.sections == [1, 1]

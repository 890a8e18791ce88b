"""From a traced network to groups of interchangeable channels."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net

from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.trace.channels import _runs, solve
from ppcls_compress.slim.prune.trace.labels import Pin
from ppcls_compress.slim.prune.trace.trace import trace

SHAPE = [[1, 3, 8, 8]]
BOTH = frozenset({"conv", "fc"})


def groups(net, **options):
    channels = solve(trace(net, SHAPE), **options)
    return {group.name: (len(group), [m.origin.weight for m in group.members]) for group in channels.groups}


def test_layers_that_are_added_form_one_group_in_registration_order():
    net = Net(lambda n, x: n.b(F.relu(n.a(x))) + x, a=nn.Conv2D(16, 12, 1), b=nn.Conv2D(12, 16, 1))
    assert groups(net) == {
        "stem.weight": (16, ["stem.weight", "b.weight"]),
        "last.weight": (8, ["last.weight"]),
        "a.weight": (12, ["a.weight"]),
    }


def test_shapes_are_plain_numbers_while_those_that_the_network_reads_are_followed():
    net = Net(lambda n, x: x.reshape([x.shape[0], -1, 8, 8]))
    tracing = trace(net, SHAPE)
    assert tracing.sources.numbers
    assert {type(size) for shape in tracing.graph.shapes.values() for size in shape} == {int}


def test_linear_layers_are_groups_when_asked_for_and_outputs_never():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 4))
    assert groups(net) == {}
    assert groups(net, kinds=BOTH) == {"1.weight": (20, ["1.weight"])}


def test_half_of_a_layer_that_is_read_elsewhere_is_a_group_of_its_own():
    def middle(n, x):
        left, right = paddle.split(x, n.sections, axis=1)
        return n.a(left) + right

    net = Net(middle, out=10, a=nn.Conv2D(6, 10, 1))
    net.sections = [6, 10]
    channels = solve(trace(net, SHAPE))
    mine = [group for group in channels.groups if group.name == "stem.weight"]
    assert sorted(len(group) for group in mine) == [6, 10]
    assert sorted(np.flatnonzero(group.members[0].units >= 0).tolist() for group in mine) == [
        list(range(6)),
        list(range(6, 16)),
    ]


@pytest.mark.parametrize("grouped", ["reduce", "keep", "auto"])
def test_grouped_convolutions_lose_whole_groups_or_the_same_positions(grouped):
    net = Net(lambda n, x: n.a(x), a=nn.Conv2D(16, 16, 1, groups=4))
    channels = solve(trace(net, SHAPE), grouped=grouped)
    sizes = {group.name: len(group) for group in channels.groups}
    assert sizes["stem.weight"] == 4
    assert ("a.weight" in sizes) == (grouped != "reduce")


def test_pins_that_trying_has_taught_take_channels_out():
    tracing = trace(Net(lambda n, x: x), SHAPE)
    stem = tracing.origins["stem.weight"].labels
    pin = Pin("slice", "written down")
    channels = solve(tracing, pins=[(stem[:4], pin)])
    assert {group.name: len(group) for group in channels.groups} == {"stem.weight": 12, "last.weight": 8}
    assert channels.pinned[int(channels.root[stem[0]])] == pin


def test_a_plan_says_what_every_shape_and_axis_becomes():
    net = Net(lambda n, x: n.a(x), a=nn.Conv2D(16, 16, 3, padding=1, groups=16))
    channels = solve(trace(net, SHAPE))
    group = next(group for group in channels.groups if group.name == "stem.weight")
    plan = Plan(channels, channels.mask([group.roots[[1, 5]]]))
    left = [index for index in range(16) if index not in (1, 5)]
    assert {name: {axis: kept.tolist() for axis, kept in axes.items()} for name, axes in plan.kept.items()} == {
        "stem.weight": {0: left},
        "stem.bias": {0: left},
        **{f"norm.{name}": {0: left} for name in ("weight", "bias", "_mean", "_variance")},
        "a.weight": {0: left},
        "a.bias": {0: left},
        "last.weight": {1: left},
    }
    assert {(held.layer, held.name): new for held, new in plan.attributes.items()} == {("a", "_groups"): 14}
    conv = next(op for op in channels.tracing.graph.ops if op.owner == "last")
    assert plan.shapes()[conv.inputs[0]] == (1, 14, 8, 8)
    assert plan.shapes()[conv.inputs[1]] == (8, 14, 1, 1)
    assert Plan(channels, channels.mask([])).kept == {}


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_told_apart_by_how_often_each_row_has_them(seed):
    rng = np.random.default_rng(seed)
    blocks = [np.repeat(rng.integers(1, 30, 3), 2), np.arange(10, 20), np.arange(10, 30, 2), rng.integers(1, 30, 8)]
    rows = [blocks[0], *blocks, np.concatenate([blocks[1], blocks[1]])]
    allowed = rng.random(30) < 0.8
    expected: dict[tuple, list[int]] = {}
    for label in np.flatnonzero(allowed).tolist():
        touches = tuple((i, row.tolist().count(label)) for i, row in enumerate(rows) if label in row)
        if touches:
            expected.setdefault(touches, []).append(label)
    found: dict[tuple, list[int]] = {}
    for family, touches in _runs(rows, allowed):
        found.setdefault(tuple(map(tuple, touches.tolist())), []).extend(family.tolist())
    assert found == expected


def test_without_rows_or_classes_there_are_no_groups():
    assert list(_runs([], np.ones(3, dtype=bool))) == []
    assert list(_runs([np.array([0, 1])], np.zeros(3, dtype=bool))) == []
    assert list(_runs([np.zeros(0, dtype=np.int64)], np.ones(3, dtype=bool))) == []
